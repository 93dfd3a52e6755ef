"""Evaluations: what an optimizer was given to step with, seen while it steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from bptrain.check.rates import rates_of


@dataclass(frozen=True)
class Evaluation:
    """The gradients at the parameters, in the order of the optimizer, and the loss where it asked for it.

    `rates` has the learning rate of each parameter group.
    """

    parameters: list[Tensor]
    gradients: list[Tensor | None]
    rates: list[Tensor]
    loss: float | None = None

    @classmethod
    def now(cls, optimizer: Optimizer) -> Evaluation:
        parameters = parameters_of(optimizer)
        return cls(copies(parameters), gradients_of(parameters), rates_of(optimizer))


@contextmanager
def observed(optimizer: Optimizer) -> Iterator[list[Evaluation]]:
    """Inside, a step of the optimizer fills the list: one evaluation, or one for each call of a closure."""
    parameters, depth = parameters_of(optimizer), 0
    seen: list[Evaluation] = []

    def before(optimizer: Optimizer, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        nonlocal depth
        depth += 1
        if depth > 1:  # torch hooks the step of every class: a subclass' own calls that of its base
            return None
        closure = kwargs.pop("closure", None) or next(iter(args[1:]), None)
        if closure is None:
            seen.append(Evaluation.now(optimizer))
            return None
        rates = rates_of(optimizer)

        def watched() -> Any:
            at = copies(parameters)
            loss = closure()
            seen.append(Evaluation(at, gradients_of(parameters), rates, float(loss)))
            return loss

        return (args[0], watched), kwargs

    def after(*_: Any) -> None:
        nonlocal depth
        depth -= 1

    handles = [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Replay:
    """Evaluations given again: of those that were seen, the one nearest to the parameters.

    So a line search by hand gets what the optimizer got, and rounding has not multiplied on the way.
    """

    seen: list[Evaluation]

    def __call__(self, parameters: tuple[Tensor, ...]) -> tuple[float, tuple[Tensor, ...]]:
        def distance(evaluation: Evaluation) -> float:
            pairs = zip(parameters, evaluation.parameters, strict=True)
            return sum((w.double() - p.double()).square().sum().item() for w, p in pairs)

        nearest = min(self.seen, key=distance)
        pairs = zip(parameters, nearest.gradients, strict=True)
        assert nearest.loss is not None
        return nearest.loss, tuple(torch.zeros_like(w) if g is None else g.to(w.dtype) for w, g in pairs)


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def copies(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def gradients_of(parameters: list[Tensor]) -> list[Tensor | None]:
    return [None if p.grad is None else p.grad.detach().clone() for p in parameters]
