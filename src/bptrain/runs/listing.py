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

    @property
    def metric(self) -> str:
        """What picked the best epoch, such as 'validation accuracy'; '' before the first evaluation."""
        best = self.summary.get("best")
        part = "validation" if best and "validation" in best else "train"
        return f"{part} {self.summary.get('monitor')}" if best else ""

    @property
    def best(self) -> float | None:
        """The value of `metric` at the best epoch."""
        part, _, name = self.metric.partition(" ")
        return self.summary["best"].get(part, {}).get(name) if part else None

    @property
    def test(self) -> float | None:
        """The same metric on the test part, with the best weights."""
        return (self.summary.get("test") or {}).get(self.summary.get("monitor"))


def list_runs(root: Path = OUTPUTS) -> list[Listed]:
    """Every run under `root`, the oldest first; jobs of sweeps are runs too."""
    found = sorted(path.parent for path in root.rglob("lock.json"))
    return [_read(RunDirectory(path)) for path in found]


def _read(directory: RunDirectory) -> Listed:
    overrides = directory.read_json("lock.json").get("overrides", [])
    return Listed(directory.path, directory.read_json("summary.json"), [str(word) for word in overrides])
