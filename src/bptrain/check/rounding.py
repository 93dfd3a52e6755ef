"""Rounding: the reference's backward made a little wrong, as arithmetic of some unit roundoff could make it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bptrain.check.recording import Recording
from bptrain.check.tf32 import ROUNDOFF, in_tf32
from bptrain.check.tolerance import roundoff
from bptrain.reference.backprop import Evaluation, Pull
from bptrain.reference.call import Call
from bptrain.reference.dtype import is_continuous
from bptrain.reference.rule import rule_for


@dataclass(frozen=True)
class Stochastic:
    """Random errors of the size that the dtype of each call gives, drawn from a generator of the check's own."""

    recording: Recording
    generator: torch.Generator

    def values(self, call: Call, values: Callable[[int], Tensor]) -> Callable[[int], Tensor]:
        """The call's values with a relative error in each, where it subtracts what is as large, or rounds them."""
        if not self.shifts(call):
            return values
        unit = self._unit(call)

        def moved(variable: int) -> Tensor:
            value = values(variable)
            return value * (1 + self._noise(value, unit)) if is_continuous(value) else value

        return moved

    def shifts(self, call: Call) -> bool:
        rule = rule_for(call.function)
        return rule is not None and (rule.shifts or in_tf32(call, self.recording.dtype_of(call)))

    def _unit(self, call: Call) -> float:
        dtype = self.recording.dtype_of(call)
        return ROUNDOFF if in_tf32(call, dtype) else roundoff(dtype)

    def around(self, call: Call, evaluation: Evaluation) -> Pull:
        """The call's way back with a relative error in each gradient that enters, and in those that leave an error of
        the size of these where the call's kernel cancels, of its partial sums where it adds terms in order."""
        rule, unit = rule_for(call.function), self._unit(call)
        cancels = rule is not None and rule.cancels

        def pull(dy: dict[int, Tensor]) -> dict[int, tuple[str, Tensor | None]]:
            found = evaluation.pull({p: g * (1 + self._noise(g, unit)) for p, g in dy.items()})
            if rule is not None and rule.in_order:
                found = {p: self._added_in_order(n, g, dy[0], unit) for p, (n, g) in found.items()}
            if not cancels:
                return found
            size = max((g.abs().max().item() for g in dy.values() if g.numel()), default=0.0)
            return {p: (n, g if g is None else g + size * self._noise(g, unit)) for p, (n, g) in found.items()}

        return pull

    def _added_in_order(self, name: str, gradient: Tensor | None, dy: Tensor, unit: float) -> tuple[str, Tensor | None]:
        """A bias' gradient (O,), sum of dy (B, O, *P): each of its partial sums is rounded, in float32 or better."""
        if name != "bias" or gradient is None or dy.dim() < 3 or dy.shape[1] != len(gradient):
            return name, gradient
        sums = dy.transpose(0, 1).flatten(1).cumsum(1)  # (O, B P)
        unit = min(unit, roundoff(torch.float32)) / 2
        return name, gradient + (sums * self._noise(sums, unit)).sum(1)

    def _noise(self, like: Tensor, unit: float) -> Tensor:
        """Up to 2 units either way for each element."""
        drawn = torch.rand(like.shape, generator=self.generator, dtype=torch.float64).to(like.device)
        return 4 * unit * (drawn - 0.5)
