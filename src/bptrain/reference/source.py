"""Where a call was made: the line a person has to look at."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch

_TORCH = str(Path(torch.__file__).parent) + os.sep
_OVERRIDES = _TORCH + "overrides.py"
_PACKAGE = Path(__file__).parent.parent
_OURS = (str(_PACKAGE / "reference") + os.sep, str(_PACKAGE / "check") + os.sep)
_RECORDING = str(_PACKAGE / "check" / "recording.py")  # who called the model: nobody further out made the call


def here() -> tuple[str, FrameType | None]:
    """'file:line' of the innermost frame outside torch and the tape, and the `apply` of a custom Function around it.

    A torch module that no other code called, such as a layer of a Sequential, is its own source.
    """
    source, inside_torch = "", ""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != _RECORDING:
        file = frame.f_code.co_filename
        if file == _OVERRIDES:  # hands the call to the tape
            pass
        elif file.startswith(_TORCH):
            inside_torch = inside_torch or f"torch/{file.removeprefix(_TORCH)}:{frame.f_lineno}"
            if frame.f_code.co_name == "apply" and file.endswith("autograd/function.py"):
                return source or inside_torch, frame
        elif not source and not file.startswith(_OURS):
            source = f"{_short(file)}:{frame.f_lineno}"
        frame = frame.f_back
    return source or inside_torch, None


def defined(function: Any) -> str:
    """Where the backward of a custom Function is written: the place to look when it is wrong."""
    code = getattr(getattr(function, "backward", None), "__code__", None)
    return f"{_short(code.co_filename)}:{code.co_firstlineno}" if code is not None else ""


def _short(file: str) -> str:
    path = Path(file)
    for root in (_PACKAGE.parent if path.is_relative_to(_PACKAGE) else Path.cwd(),):
        if path.is_relative_to(root):
            return str(path.relative_to(root))
    return file
