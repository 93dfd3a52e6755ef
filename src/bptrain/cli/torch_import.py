"""The import of torch, which is most of the time to the first step."""

from __future__ import annotations

import gc
import sys


def import_torch() -> None:
    """Imports torch, and takes what is loaded then out of the search for garbage, which finds none in modules.

    While torch loads and after it Python would go through all of that again and again, for a sixth of the time to the
    first step.
    """
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        import torch  # noqa: F401 - for what comes after
    finally:
        gc.enable()
    gc.freeze()
