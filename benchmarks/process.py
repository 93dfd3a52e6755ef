"""Whole processes: how long they take, and the most memory they have at a time.

What starts them has to be small: Linux counts what a process had before it became another program. So no torch here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = sys.executable
BPTRAIN = str(Path(sys.executable).with_name("bptrain"))


@dataclass(frozen=True)
class Ended:
    """Seconds from the start of the first to the end of the last, and the peak of resident memory in MiB."""

    seconds: float
    peak: float


def whole(*commands: list[str], folder: Path | str, env: Mapping[str, str] | None = None, code: int = 0) -> Ended:
    """Runs commands beside each other; ends all with what one has said where it ends with another exit code."""
    with tempfile.TemporaryFile("w+") as said:
        begun, peak = time.perf_counter(), 0
        started = [subprocess.Popen(words, cwd=folder, env=env, stdout=said, stderr=said) for words in commands]
        for process, words in zip(started, commands, strict=True):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peak = max(peak, usage.ru_maxrss)
            if process.returncode != code:
                said.seek(0)
                sys.exit(f"{' '.join(words)}: exit code {process.returncode}, not {code}\n{said.read()[-3000:]}")
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return Ended(time.perf_counter() - begun, peak / unit)
