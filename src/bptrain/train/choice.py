"""Choosing: the engine that is found while training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from statistics import median

import torch
from torch import Tensor, nn

from bptrain.config.settings import Settings
from bptrain.data.dataset import Part
from bptrain.train.compiled import Compiled
from bptrain.train.engine import Eager, Engine, LineSearch
from bptrain.train.graph import Capture, Graph, captured
from bptrain.train.program import Untraceable
from bptrain.train.record import Chosen
from bptrain.train.state import State

WARM, MEASURED = 3, 20  # steps that are not timed, and the steps after them that are
TRACING = 1.0  # seconds, about what it takes to trace a step twice
GAIN = 0.5  # share of a step's time that a program is expected to save: 0.4 to 0.7 on small networks


class Choosing:
    """Compiles the first step, and goes on eagerly where that can't be done.

    When `measuring`, it begins eagerly, compiles if that promises to pay in what is left of `total_steps`, and goes on
    with the fastest. With `capture` the compiled step is also recorded as a graph. All steps count: they are those of
    the training.
    """

    def __init__(self, eager: Eager, total_steps: int, measuring: bool, capture: Capture | None = None) -> None:
        self.eager, self.total_steps, self.measuring, self.capture = eager, total_steps, measuring, capture
        self.engine: Engine = eager
        self.chosen: Chosen | None = None
        self.compiled: Compiled | None = None
        self.graph: Graph | None = None
        self.refused = ""  # why there is no graph
        self.seconds: dict[str, float] = {}
        self.times: list[float] = []
        self.whole: Sequence[Tensor] = ()  # batches of the most rows so far, as the last of an epoch may have few

    def step(self, batches: Sequence[Tensor]) -> Tensor:
        if self.chosen is None:
            self.whole = max(self.whole, batches, key=lambda step: sum(map(len, step)))
            self._at_once()
        if self.chosen is not None:
            return self.engine.step(batches)
        start = self._now()
        loss = self.engine.step(batches)
        self.times.append(self._now() - start)
        if len(self.times) == WARM + MEASURED:
            self._measured(median(self.times[WARM:]))
            self.times = []
        return loss

    def _at_once(self) -> None:
        """Decides what takes no measuring."""
        if self.measuring and self.total_steps <= WARM + MEASURED:
            self._choose(self.eager, f"the run has only {self.total_steps} steps")
        elif not self.measuring:
            self._try()
            if self.compiled is not None:
                asked = "compiled" if self.capture is None else "graph"
                self._record()
                self._choose(self.engine, f"fit.engine={asked}, {self._cost()}")

    def _measured(self, seconds: float) -> None:
        """Decides what is next, with the time of a step of the engine."""
        self.seconds[self._name(self.engine)] = seconds
        if self.compiled is None:
            left = (self.total_steps - self.eager.state.step - 1) * seconds
            if left * GAIN < TRACING:
                return self._choose(self.eager, f"the steps that are left take {left:.1f} s", 1)
            return self._try(left, 1)
        if self.engine is self.compiled and self._record():
            return None
        engines: list[Engine] = [e for e in (self.eager, self.compiled, self.graph) if e is not None]
        fastest = min(engines, key=lambda engine: self.seconds[self._name(engine)])
        told = {name: f"{self.seconds[name] * 1e3:.2f} ms" for name in map(self._name, engines)}
        graph = f", as a graph {told['graph']}" if self.graph is not None else ""
        figures = f"compiled it takes {told['compiled']} a step, eagerly {told['eager']}{graph}"
        return self._choose(fastest, f"{figures}, {self._cost()}", 1)

    def _try(self, left: float | None = None, made: int = 0) -> None:
        """Traces and compiles; where `left` seconds are not enough for that to pay, or it fails, eager is chosen."""
        try:
            compiled = Compiled(self.eager, self.whole)
            cost = compiled.program.expected()
            if left is not None and left * GAIN < cost:
                why = f"the steps that are left take {left:.0f} s, and compiling about {cost:.0f} s"
                return self._choose(self.eager, why, made)
            compiled.compile()
        except Untraceable as error:
            return self._choose(self.eager, f"it can't be compiled: {error}", made)
        self.compiled = self.engine = compiled
        self.seconds["compiling"] = compiled.program.seconds
        return None

    def _record(self) -> bool:
        """Goes on with a graph of the compiled step, where that is wanted and can be had."""
        assert self.compiled is not None
        if self.capture is None:
            return False
        try:
            self.graph = self.engine = Graph(self.compiled, self.capture)
        except Untraceable as error:
            self.refused = f"; {error}"
        return self.graph is not None

    def _choose(self, engine: Engine, why: str, made: int = 0) -> None:
        """`made` counts the step that has just been made, and is not in the state yet."""
        self.engine = engine
        self.chosen = Chosen(self.eager.state.step + made, self._name(engine), why, self.seconds)

    def _name(self, engine: Engine) -> str:
        return "eager" if engine is self.eager else "graph" if engine is self.graph else "compiled"

    def _cost(self) -> str:
        assert self.compiled is not None
        found = ", code found in torch's cache" if self.compiled.program.cached else ""
        return f"{self.seconds['compiling']:.1f} s to compile{found}{self.refused}"

    def _now(self) -> float:
        if self.eager.inputs.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()


def engine_of(
    settings: Settings,
    state: State,
    loss: nn.Module,
    part: Part,
    inside: AbstractContextManager[object],
    total_steps: int,
) -> Engine:
    """The engine that settings ask for, of a process alone."""
    fit = settings.fit
    if settings.optimizer.closure:
        search = LineSearch(state, loss, part, fit.clip, inside)
        if fit.engine != "eager":
            why = f"it can't be compiled: {settings.optimizer.name} evaluates the loss itself, several times a step"
            search.chosen = Chosen(0, "eager", why, {})
        return search
    eager = Eager(state, loss, part, fit.clip, inside)
    if fit.engine == "eager" or (fit.engine == "auto" and fit.deterministic):
        return eager
    capture = captured if fit.engine != "compiled" and part.inputs.device.type == "cuda" else None
    return Choosing(eager, total_steps, fit.engine == "auto", capture)
