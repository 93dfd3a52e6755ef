"""The ledger of a sweep: what each trial was and came to, on disk and on the console."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from bptrain import files
from bptrain.errors import BptrainError, GradientsWrong, Problem, RequestError, RunFailed
from bptrain.report.sweep import SweepConsole
from bptrain.runs.directory import create_sweep
from bptrain.sweep.plan import Trial


@dataclass(frozen=True)
class Failure:
    """Why a trial has failed; `problems` are those of a request that is wrong."""

    code: int
    reason: str
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, error: Exception) -> Failure:
        if os.environ.get("BPTRAIN_TRACEBACK") == "1":
            traceback.print_exception(error)
        code = error.exit_code if isinstance(error, BptrainError) else RunFailed.exit_code
        problems = error.problems if isinstance(error, RequestError) else ()
        return cls(code, str(error) or type(error).__name__, problems)


class Told(Protocol):
    """Who is told what becomes of trials: the ledger, or in a process of its own what passes it on."""

    def job(self, trial: Trial) -> Path: ...
    def begin(self, trials: Sequence[Trial]) -> None: ...
    def finish(self, trial: Trial, summary: dict[str, Any]) -> None: ...
    def fail(self, trial: Trial, failure: Failure) -> None: ...
    def refuse(self, trial: Trial, failure: Failure) -> None: ...
    def cut(self, parts: Sequence[Sequence[int]]) -> None: ...
    def decide(self, number: int, decisions: Sequence[str]) -> None: ...
    def say(self, line: str) -> None: ...


@dataclass(frozen=True)
class Before:
    """Where a sweep lies, and what became of its trials so far, by number."""

    path: Path
    entries: dict[int, dict[str, Any]]


class Ledger:
    """`sweep.json` in the fresh directory of a sweep, kept up to date; a context in which the console is live.

    Nothing is written or shown before it is clear that some trial can be built.
    """

    def __init__(
        self, trials: Sequence[Trial], quiet: bool, request: dict[str, Any], before: Before | None = None
    ) -> None:
        """`request` is what was asked for, and is kept; a sweep that goes on has what was `before`."""
        self.trials, self.quiet, self.request, self.before = trials, quiet, request, before
        self.path: Path | None = None
        self.refused: list[tuple[Trial, Failure]] = []  # before it was clear
        self.entries: dict[int, dict[str, Any]] = {}
        self.codes: set[int] = set()
        self.held = ExitStack()

    def _open(self) -> Path:
        if self.path is None:
            if self.before is None:
                self.path = create_sweep(self.trials[0].settings.name)
            else:
                self.path, self.entries = self.before.path, dict(self.before.entries)
            self.held.enter_context(files.held(self.path / ".lock"))
            self.console = SweepConsole(self.quiet, len(self.trials), self.path)
            self.console.__enter__()
            for trial, failure in self.refused:
                self.refuse(trial, failure)
        return self.path

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path is None:
            return
        for entry in self.entries.values():
            if entry["status"] == "running":
                entry["status"] = "interrupted"
        self._write()
        self.held.close()
        self.console.__exit__(kind, error, trace)

    def job(self, trial: Trial) -> Path:
        """The directory of a trial's run."""
        return self._open() / str(trial.number)

    def begin(self, trials: Sequence[Trial]) -> None:
        self._open()
        for trial in trials:
            self.console.start(trial.number, trial.words)
            entry = {"number": trial.number, "overrides": list(trial.words), "status": "running"}
            self.entries[trial.number] = entry
        self._write()

    def finish(self, trial: Trial, summary: dict[str, Any]) -> None:
        told = {key: summary[key] for key in ("status", "monitor", "mode", "seconds")}
        self._end(trial, told | {"best": summary.get("best"), "test": summary.get("test")})

    def fail(self, trial: Trial, failure: Failure) -> None:
        self.codes.add(failure.code)
        self._end(trial, {"status": "failed", "reason": failure.reason})

    def refuse(self, trial: Trial, failure: Failure) -> None:
        """It can't be built."""
        if self.path is None and failure.problems:
            self.refused.append((trial, failure))
            return
        self.begin([trial])
        self.fail(trial, failure)

    def cut(self, parts: Sequence[Sequence[int]]) -> None:
        """Trials, by number, have been cut into parts that train as one program each."""
        self.request.setdefault("parts", []).extend({"trials": list(part), "decisions": []} for part in parts)
        self._write()

    def decide(self, number: int, decisions: Sequence[str]) -> None:
        """Time has decided these in the part that a trial is in."""
        (part,) = (part for part in self.request["parts"] if number in part["trials"])
        part["decisions"] = list(decisions)
        self._write()

    def say(self, line: str) -> None:
        self._open()
        self.console.say(line)

    def _end(self, trial: Trial, told: dict[str, Any]) -> None:
        self.entries[trial.number] |= told
        self._write()
        self.console.end(self.entries[trial.number])

    def _write(self) -> None:
        trials = [self.entries[number] for number in sorted(self.entries)]
        files.write_json(self._open() / "sweep.json", self.request | {"trials": trials})

    def close(self) -> int:
        """Shows the table of all; the exit code: 0 when all finished, 3 when some gradients were wrong, else 1.

        1 goes before 3, when a run has failed in another way. RequestError, with nothing written, when the request of
        each trial is wrong.
        """
        if self.path is None:
            problems = (problem for _, failure in self.refused for problem in failure.problems)
            raise RequestError(list(dict.fromkeys(problems)))
        self.console.table([self.entries[number] for number in sorted(self.entries)])
        wrong = GradientsWrong.exit_code in self.codes and RunFailed.exit_code not in self.codes
        return GradientsWrong.exit_code if wrong else min(1, len(self.codes))
