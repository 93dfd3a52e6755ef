"""The ledger of a sweep: what each trial was and came to, on disk and on the console."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bptrain import files
from bptrain.errors import BptrainError, GradientsWrong, RunFailed
from bptrain.report.sweep import SweepConsole
from bptrain.runs.directory import create_sweep
from bptrain.sweep.plan import Trial


class Ledger:
    """`sweep.json` in the fresh directory of a sweep, kept up to date; a context in which the console is live."""

    def __init__(self, trials: Sequence[Trial], quiet: bool) -> None:
        self.path: Path = create_sweep(trials[0].settings.name)
        self.console = SweepConsole(quiet, len(trials), self.path)
        self.entries: dict[int, dict[str, Any]] = {}
        self.codes: set[int] = set()

    def __enter__(self) -> Ledger:
        self.console.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for entry in self.entries.values():
            if entry["status"] == "running":
                entry["status"] = "interrupted"
        self._write()
        self.console.__exit__(kind, error, trace)

    def job(self, trial: Trial) -> Path:
        """The directory of a trial's run."""
        return self.path / str(trial.number)

    def begin(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self.console.start(trial.number, trial.words)
            entry = {"number": trial.number, "overrides": list(trial.words), "status": "running"}
            self.entries[trial.number] = entry
        self._write()

    def finish(self, trial: Trial, summary: dict[str, Any]) -> None:
        told = {key: summary[key] for key in ("status", "monitor", "mode", "seconds")}
        self._end(trial, told | {"best": summary.get("best"), "test": summary.get("test")})

    def fail(self, trial: Trial, error: Exception) -> None:
        if os.environ.get("BPTRAIN_TRACEBACK") == "1":
            traceback.print_exception(error)
        self.codes.add(error.exit_code if isinstance(error, BptrainError) else RunFailed.exit_code)
        self._end(trial, {"status": "failed", "reason": str(error) or type(error).__name__})

    def _end(self, trial: Trial, told: dict[str, Any]) -> None:
        self.entries[trial.number] |= told
        self._write()
        self.console.end(self.entries[trial.number])

    def _write(self) -> None:
        files.write_json(self.path / "sweep.json", {"trials": [self.entries[n] for n in sorted(self.entries)]})

    def close(self) -> int:
        """Shows the table of all; the exit code: 0 when all finished, 3 when some gradients were wrong, else 1.

        1 goes before 3, when a run has failed in another way.
        """
        self.console.table([self.entries[number] for number in sorted(self.entries)])
        wrong = GradientsWrong.exit_code in self.codes and RunFailed.exit_code not in self.codes
        return GradientsWrong.exit_code if wrong else min(1, len(self.codes))
