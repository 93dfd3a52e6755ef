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
        part = "validation" if "validation" in self._of("best") else "train"
        return f"{part} {self.summary.get('monitor')}" if self._of("best") else ""

    @property
    def best(self) -> float | None:
        """The value of `metric` at the best epoch."""
        part, _, name = self.metric.partition(" ")
        return _number(self._of("best").get(part), name)

    @property
    def test(self) -> float | None:
        """The same metric on the test part, with the best weights."""
        return _number(self._of("test"), str(self.summary.get("monitor")))

    @property
    def gradients(self) -> str:
        """The verdict on the gradients."""
        return str(self._of("gradients").get("verdict", "-"))

    def _of(self, key: str) -> dict[str, Any]:
        """A mapping in the summary, which anybody may have written; {} where there is none."""
        value = self.summary.get(key)
        return value if isinstance(value, dict) else {}


def _number(scores: Any, name: str) -> float | None:
    value = scores.get(name) if isinstance(scores, dict) else None
    return value if isinstance(value, int | float) else None


def list_runs(root: Path = OUTPUTS) -> list[Listed]:
    """Every run under `root`, the oldest first; jobs of sweeps are runs too."""
    found = sorted(path.parent for path in root.rglob("lock.json"))
    return [_read(RunDirectory(path)) for path in found]


def _read(directory: RunDirectory) -> Listed:
    words = directory.read_json("lock.json").get("overrides")
    overrides = [str(word) for word in words] if isinstance(words, list) else []
    return Listed(directory.path, directory.read_json("summary.json"), overrides)
