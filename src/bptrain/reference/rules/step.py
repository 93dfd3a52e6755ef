"""Whole numbers and signs of numbers, and what division leaves: functions of flat or straight pieces.

A step function has the slope 0, at its jumps too by convention.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.arithmetic import to_operand
from bptrain.reference.rules.slope import Sloped, spellings


def truncated(x: Tensor) -> Tensor:
    """`x` without its decimals, with its sign at 0 too."""
    return torch.where(x < 0, x.ceil(), x.floor())


def _cases() -> Iterable[Case]:
    yield case("signs", torch.tensor([[-1.7, -0.2, 0.3], [2.6, 40.1, -3.3]]))
    yield case("jumps", torch.tensor([-1.0, 0.0, 0.5, 1.5, 2.0]), smooth=False)


class Floor(Sloped, functions=spellings("floor")):
    """y = the largest whole number that is not above x. Derivation. dx = 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.floor(), 0


class Ceil(Sloped, functions=spellings("ceil")):
    """y = the smallest whole number that is not below x. Derivation. dx = 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.ceil(), 0


class Round(Sloped, functions=spellings("round")):
    """y = the nearest number of `decimals` decimals, the even one of two. Derivation. dx = 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield from _cases()
        yield case("decimals", torch.tensor([-1.234, 0.567]), decimals=1)
        yield case("tens", torch.tensor([-123.4, 56.7]), decimals=-1, function=torch.round)

    @staticmethod
    def forward(input: Tensor, *, decimals: int = 0) -> tuple[Tensor, Any]:
        return (input * 10.0**decimals).round() / 10.0**decimals, 0


class Trunc(Sloped, functions=spellings("trunc", "fix")):
    """y = x without its decimals. Derivation. dx = 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return truncated(input), 0


class Frac(Sloped, functions=spellings("frac")):
    """y = x - trunc(x). Derivation. The second term is a step function, so dx = dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input - truncated(input), 1


class Sign(Sloped, functions=spellings("sign", "sgn")):
    """y = -1, 0 or 1. Derivation. dx = 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return (input > 0).to(input.dtype) - (input < 0).to(input.dtype), 0


class Remainder(Rule, functions=[torch.remainder, Tensor.remainder, Tensor.remainder_]):
    """y = a - b floor(a / b): what is left of a, with the sign of b.

    Derivation. floor(a / b) is a step function, so da = dy and db = -floor(a / b) dy.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.7, 0.3], [2.6, -3.3]]), torch.tensor([0.7, -0.4]))
        yield case("number", torch.tensor([-1.7, 2.6]), 0.7)
        yield case("jumps", torch.tensor([-2.0, 0.0, 3.0]), torch.tensor([2.0, 2.0, -1.5]), smooth=False)

    @staticmethod
    def forward(input: Tensor, other: Any) -> tuple[Tensor, Any]:
        y = torch.remainder(input, other)
        return y, (input, other, ((input - y) / other).round())

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, other, quotient = cache
        return to_operand(dy, input), to_operand(-dy * quotient, other)


class Fmod(Rule, functions=[torch.fmod, Tensor.fmod, Tensor.fmod_]):
    """y = a - b trunc(a / b): what is left of a, with the sign of a.

    Derivation. As for remainder, with trunc for floor: the remainder of |a| and |b| with the sign of a.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.7, 0.3], [2.6, -3.3]]), torch.tensor([0.7, -0.4]))
        yield case("number", torch.tensor([-1.7, 2.6]), -0.7)
        yield case("jumps", torch.tensor([-2.0, 0.0, 3.0]), torch.tensor([2.0, 2.0, -1.5]), smooth=False)

    @staticmethod
    def forward(input: Tensor, other: Any) -> tuple[Tensor, Any]:
        y = input.sign() * torch.remainder(input.abs(), abs(other))
        return y, (input, other, ((input - y) / other).round())

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return Remainder.backward(cache, dy)


class Frexp(Rule, functions=[torch.frexp, Tensor.frexp]):
    """y = m and e with x = m 2^e, 1/2 <= |m| < 1 or m = 0. Derivation. e is a step function, so dx = dm 2^-e."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.7, 0.3], [2.6, 0.01]]))
        yield case("powers of two", torch.tensor([0.5, 1.0, -8.0, 0.0]), smooth=False)

    @staticmethod
    def forward(input: Tensor) -> tuple[tuple[Tensor, Tensor], Any]:
        e = torch.where(input == 0, 0, (input.abs().log() / math.log(2)).floor() + 1)
        m = input * torch.pow(2.0, -e)
        # The logarithm of a number next to a power of two may be rounded to that of the power.
        e = e + (m.abs() >= 1).to(e.dtype) - ((m.abs() < 0.5) & (m != 0)).to(e.dtype)
        shrink = torch.pow(2.0, -e)
        return (input * shrink, e.to(torch.int32)), shrink

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> Tensor:
        return dy[0] * cache
