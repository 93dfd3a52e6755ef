"""Finds the runs under a directory and reads what each came to, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bptrain.runs.directory import OUTPUTS, RunDirectory


@dataclass(frozen=True)
class Listed:
    """One run as it stands on disk; `summary` is {} for one that is running or was killed."""

    path: Path
    summary: dict[str, Any]
    overrides: list[str]

    @property
    def status(self) -> str:
        return str(self.summary.get("status", "unfinished"))

    def score(self, part: str) -> tuple[str, float] | None:
        """The monitored metric of a part, 'validation' at the best epoch or 'test'; None without one."""
        name = self.summary.get("monitor", "loss")
        scores = self.summary.get("test") if part == "test" else (self.summary.get("best") or {}).get(part)
        value = (scores or {}).get(name)
        return (name, value) if isinstance(value, (int, float)) else None


def list_runs(root: Path = OUTPUTS) -> list[Listed]:
    """Every run under `root`, the oldest first; jobs of sweeps are runs too."""
    found = sorted(path.parent for path in root.rglob("lock.json"))
    return [_read(RunDirectory(path)) for path in found]


def _read(directory: RunDirectory) -> Listed:
    overrides = directory.read_json("lock.json").get("overrides", [])
    return Listed(directory.path, directory.read_json("summary.json"), [str(word) for word in overrides])
