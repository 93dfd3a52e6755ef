"""The checkpoints of a run: which states are written, and when."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bptrain.runs.directory import RunDirectory
from bptrain.train.checkpoint import Checkpoint, write
from bptrain.train.record import Evaluated, NonFinite
from bptrain.train.run import Run
from bptrain.train.state import Snapshot


class Checkpoints:
    """Writes `last` and `best` when they are due: each write waits for the disk, which costs more than an epoch can.

    Without a directory it writes nothing: then only what each process has a part of counts, shards and generators.
    """

    def __init__(
        self, run: Run, directory: RunDirectory | None, progress: Callable[[], dict[str, Any]], top: list[Any]
    ) -> None:
        self.state, self.directory, self.settings = run.state, directory, run.settings.fit.checkpoint
        ranks = run.ranks if run.ranks is not None and run.ranks.size > 1 else None
        self.drawing = ranks if run.drawing else None
        self.together = ranks if ranks is not None and ranks.sharded else self.drawing
        self.since, self.asking = run.state.step, 0
        self.run, self.progress, self.top = run, progress, top
        self.written, self.best_step = time.perf_counter(), run.state.best_step

    def after_step(self) -> None:
        if self._due():
            self.write()

    def _due(self) -> bool:
        seconds, step, past = self.settings.seconds, self.state.step, time.perf_counter() - self.written
        if seconds is None:
            return step % int(self.settings.every) == 0
        if self.together is None:
            return past >= seconds
        if step < self.asking:
            return False
        # Clocks differ: the first process says in how many steps it will look at its own again, each time half way.
        ahead = 0 if past >= seconds else max(1, int((seconds - past) / past * (step - self.since) / 2))
        ahead = int(self.together.first(torch.tensor(ahead)))
        self.asking = step + ahead
        return not ahead

    def after_evaluation(self, evaluated: Evaluated) -> None:
        """Writes a state that is among the best so many, and removes the one that no longer is."""
        scores = evaluated.scores.get("validation", evaluated.scores["train"])
        value = scores[self.run.monitor] * (-1 if self.run.mode == "max" else 1)
        ranked = sorted([*self.top, [value, scores["loss"], evaluated.epoch]])
        self.top[:] = ranked[: self.settings.top]
        if any(epoch == evaluated.epoch for *_, epoch in self.top):
            self._write(f"epoch-{evaluated.epoch}", Checkpoint(self.state.snapshot().full()))
        for *_, epoch in ranked[self.settings.top :]:
            if self.directory is not None:
                self.directory.remove_checkpoint(f"epoch-{epoch}")

    def before_fault(self, found: NonFinite) -> None:
        """Writes the state before a step that is not finite."""
        self._write("nonfinite", Checkpoint(found.before, _model(found.best)))

    def write(self) -> None:
        state = self.state
        if not state.step or (self.run.ranks is None and not state.finite()):  # whoever trains it will notice, too
            return
        if "best" in self.settings.keep and state.best is not None and state.best_step != self.best_step:
            self._write("best", Checkpoint(state.best.full()))
            self.best_step = state.best_step
        if "last" in self.settings.keep:
            snapshot = state.snapshot().full()
            if self.drawing is not None:
                snapshot = replace(snapshot, generators=snapshot.generators | self.drawing.generators(self.run.device))
            self._write("last", Checkpoint(snapshot, _model(state.best)))
        self.written, self.since = time.perf_counter(), state.step

    def _write(self, name: str, made: Checkpoint) -> None:
        if self.directory is not None:
            self.directory.write_checkpoint(name, write(replace(made, progress=self.progress())))


def _model(best: Snapshot | None) -> dict[str, Tensor]:
    return best.full().model if best is not None else {}
