"""End to end: the reference runs the whole tape by itself and must get the same loss and the same gradients."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bptrain.check.local import inexact
from bptrain.check.recording import Recording
from bptrain.check.rounding import Stochastic
from bptrain.check.tolerance import GradientError, coarser, compare, roundoff
from bptrain.check.verdict import NUMERICAL, UNVERIFIED, VERIFIED, failed, worst
from bptrain.reference.backprop import Run, forward
from bptrain.reference.dtype import cast
from bptrain.reference.rule import rule_for

Ends = dict[str, GradientError]


@dataclass
class EndToEnd:
    """The reference's own loss and gradients for a recording.

    In float64 it computes every value itself (`run`), and its gradients are the `truth` for a coarser dtype. Where that
    is not enough, the reference takes the recorded values, so that a unit near a kink stands on the same side, and
    chains the backward pass only.
    """

    recording: Recording
    run: Run
    generator: torch.Generator
    truth: dict[str, Tensor] | None = None

    @classmethod
    def of(cls, recording: Recording, generator: torch.Generator, truth: dict[str, Tensor] | None = None) -> EndToEnd:
        run = forward(recording.tape, torch.float64, recording.dtype is not torch.float64)
        # A random draw may be another one in another dtype.
        drawn = any(rule is not None and rule.random for rule in (rule_for(call.function) for call in run.calls))
        return cls(recording, run, generator, None if drawn else truth)

    @functools.cached_property
    def gradients(self) -> dict[int, Tensor]:
        """By variable."""
        return self.run.backward(self._seeds(torch.float64))

    @functools.cached_property
    def rounded(self) -> list[tuple[Run, dict[int, Tensor], float]]:
        """The same under rounding: another way forward, its gradients, and the share of the difference that counts."""
        tape, teacher, dtype = self.recording.tape, self.run.teacher, self.recording.dtype
        rounding, coarse = Stochastic(self.recording, self.generator), coarser(dtype)
        found = []
        runs = [self.run]
        if any(map(rounding.shifts, self.run.calls)):
            runs.append(forward(tape, torch.float64, teacher, rounding))
        for run in runs:
            found.append((run, run.backward(self._seeds(torch.float64), rounding), 1.0))
        own = forward(tape, coarse, teacher)
        return [*found, (own, own.backward(self._seeds(coarse)), roundoff(dtype) / roundoff(coarse))]

    def gradient(self, name: str) -> Tensor:
        """The reference's own gradient of a parameter or an input, zero where none reaches it."""
        variable = self.recording.tape.leaves[name]
        found = self.gradients.get(variable)
        return (
            found if found is not None else cast(torch.zeros_like(self.recording.tape.values[variable]), torch.float64)
        )

    def known(self) -> dict[str, Tensor]:
        """The reference's own gradients by name of parameter or input."""
        leaves = self.recording.tape.leaves.items()
        return {name: self.gradients[variable] for name, variable in leaves if variable in self.gradients}

    def reruns(self, name: str) -> list[tuple[Tensor, float]]:
        """That gradient under rounding, with shares: see tolerance.compare."""
        variable = self.recording.tape.leaves[name]
        return [(gradients[variable], share) for _, gradients, share in self.rounded if variable in gradients]

    @functools.cached_property
    def kernels(self) -> float:
        """What the known errors of torch's kernels come to: they add up on the way, and grow where gradients cancel."""
        return 100 * sum(inexact(call) for call in self.run.calls)

    def compare(self, sound: Callable[[], bool]) -> tuple[Ends, GradientError]:
        """How far autograd's gradients are off, by name of parameter or input, and the loss.

        `sound` is asked where rounding of the result does not explain a gradient: whether every call is right by itself
        and gets what its users sent. The gradient is then right but for what later calls made of the rounding of
        earlier ones, by induction from the loss. Else that is measured.
        """
        tape, dtype = self.recording.tape, self.recording.dtype
        used = {x.variable for call in tape.calls for x in call.inputs}
        ends = {}
        for name, theirs in self.recording.gradients.items():
            if theirs is None and not self._reaches(name) and tape.leaves[name] in used:
                # A parameter is cut off on purpose (detach, no_grad) or by mistake; an input may be a target.
                if name not in self.recording.inputs:
                    ends[name] = GradientError(math.nan, 0.0, UNVERIFIED)
                continue
            error = compare(theirs, self._true(name), None, dtype, self.kernels)
            if failed(error.verdict):
                if sound():
                    error = replace(error, verdict=VERIFIED, explained=max(error.explained, error.error), fault="")
                else:
                    reruns = functools.partial(self.reruns, name)
                    error = compare(theirs, self.gradient(name), reruns, dtype, self.kernels)
            if failed(error.verdict) and self._lost:
                error = replace(error, verdict=UNVERIFIED)
            elif not failed(error.verdict) and self.run.unruled and tape.leaves[name] in self._tainted:
                error = replace(error, verdict=worst([NUMERICAL, error.verdict]))
            ends[name] = error
        values = []
        for v in self.recording.seeds:
            again = functools.partial(self._values, v)
            values.append(compare(tape.values[v], self.run.value(v), again, self.recording.dtype, self.kernels))
        value = max(values, key=lambda error: (failed(error.verdict), error.error))
        return ends, replace(value, verdict=UNVERIFIED) if failed(value.verdict) and self._lost else value

    def _true(self, name: str) -> Tensor:
        known = self.truth.get(name) if self.truth is not None else None
        return known if known is not None else self.gradient(name)

    def _reaches(self, name: str) -> bool:
        """Whether the reference has a gradient for a parameter or an input."""
        return (self.truth is not None and name in self.truth) or self.recording.tape.leaves[name] in self.gradients

    @property
    def _tainted(self) -> set[int]:
        return self.run.tainted if self.gradients else set()

    @functools.cached_property
    def _lost(self) -> bool:
        """Whether gradients get lost on the way, where the reference can't follow."""
        cut = [output.variable for call in self.run.cut if call.wanted for output in call.outputs]
        return any(variable in self.gradients for variable in (*self.recording.tape.holes, *cut))

    def _values(self, variable: int) -> list[tuple[Tensor, float]]:
        return [(run.value(variable), share) for run, _, share in self.rounded]

    def _seeds(self, dtype: torch.dtype) -> dict[int, Tensor]:
        return {variable: cast(seed, dtype) for variable, seed in self.recording.seeds.items()}
