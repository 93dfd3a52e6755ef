"""Numbers drawn at random: no gradient passes a draw to what it is drawn from, nor to what it overwrites.

That is no derivative but a contract where the draw depends on a tensor: the loss changes with it on average. mean + std
times a draw of numbers of their own has a gradient (Kingma and Welling 2013).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.arithmetic import Operand, to_operand

OVERWRITTEN = [
    *[Tensor.normal_, Tensor.uniform_, Tensor.exponential_, Tensor.cauchy_, Tensor.log_normal_, Tensor.random_],
    Tensor.geometric_,
]
DRAWN = "a draw passes no gradient to what it is drawn from"


class Normal(Rule, functions=[torch.normal], random=True):
    """y = a draw from the normal distribution of each mean and standard deviation, of which one may be a number."""

    @staticmethod
    def cases() -> Iterable[Case]:
        mean, std = torch.randn(2, 3), torch.rand(3) + 0.1
        yield case("tensors", mean, std, smooth=False)
        yield case("number right", mean, 0.7, smooth=False)
        yield case("number left", 0.7, std=std, smooth=False)

    @staticmethod
    def contract(*args: Any, **kwargs: Any) -> str:
        return DRAWN

    @staticmethod
    def forward(mean: Operand, std: Operand = 1.0, *, again: Callable) -> tuple[Tensor, Any]:
        return again(mean, std), (mean, std)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        mean, std = cache
        return to_operand(torch.zeros_like(dy), mean), to_operand(torch.zeros_like(dy), std)


class Draw(Rule, functions=[torch.bernoulli, Tensor.bernoulli, torch.poisson], random=True):
    """y = a draw of 0 or 1 by each probability, or of a count by each rate."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.rand(2, 3), smooth=False)

    @staticmethod
    def contract(*args: Any, **kwargs: Any) -> str:
        return DRAWN

    @staticmethod
    def forward(input: Tensor, *, again: Callable) -> tuple[Tensor, Any]:
        return again(input), None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return torch.zeros_like(dy)


class BernoulliInPlace(Rule, functions=[Tensor.bernoulli_], random=True):
    """y = a draw of 0 or 1 by a probability, or by probabilities broadcast to x, in place of x."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("number", torch.rand(2, 3), 0.3)
        yield case("tensor", torch.rand(2, 3), torch.rand(3), smooth=False)

    @staticmethod
    def contract(input: Tensor, p: Operand = 0.5) -> str:
        return DRAWN if isinstance(p, Tensor) else ""

    @staticmethod
    def forward(input: Tensor, p: Operand = 0.5, *, again: Callable) -> tuple[Tensor, Any]:
        return again(input, p), p

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return torch.zeros_like(dy), torch.zeros_like(cache) if isinstance(cache, Tensor) else None


class Overwritten(Rule, functions=OVERWRITTEN, random=True):
    """y = draws from the distribution of some numbers, in place of x. Derivation. x is gone: dx = 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("without numbers", torch.randn(2, 3))
        yield case("numbers", torch.randn(2, 3), 0.3, 0.7, function=Tensor.normal_)
        yield case("by name", torch.randn(2, 3), to=0.7, function=Tensor.uniform_)
        yield case("whole numbers", torch.randn(2, 3), 5, function=Tensor.random_)
        yield case("probability", torch.randn(2, 3), 0.3, function=Tensor.geometric_)

    @staticmethod
    def forward(input: Tensor, *settings: Any, again: Callable, **named: Any) -> tuple[Tensor, Any]:
        if named.get("generator") is not None:
            raise TypeError("what a generator of its own drew can't be drawn again")
        return again(input, *settings, **named), None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return torch.zeros_like(dy)
