"""Tangent, the inverse functions of the circle, and angles in degrees."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.arithmetic import to_operand
from bptrain.reference.rules.slope import Sloped, spellings


class Tan(Sloped, functions=spellings("tan")):
    """y = sin(x) / cos(x). Derivation. dy/dx = (cos^2 + sin^2) / cos^2 = 1 + y^2."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.2, 0.0, 2.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y = input.sin() / input.cos()
        return y, 1 + y * y


class Asin(Sloped, functions=spellings("asin", "arcsin")):
    """y with sin(y) = x. Derivation. cos(y) dy/dx = 1 and cos(y) = sqrt(1 - x^2); infinite at -1 and 1."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-0.9, 0.0, 0.3]]))
        yield case("ends", torch.tensor([-1.0, 1.0]), smooth=False)

    @staticmethod
    def kinks(input: Tensor) -> int:
        return int((input.abs() == 1).sum())

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        cosine = (1 - input * input).sqrt()
        return torch.atan2(input, cosine), 1 / cosine


class Acos(Sloped, functions=spellings("acos", "arccos")):
    """y with cos(y) = x. Derivation. -sin(y) dy/dx = 1 and sin(y) = sqrt(1 - x^2); infinite at -1 and 1."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return Asin.cases()

    kinks = staticmethod(Asin.kinks)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        sine = (1 - input * input).sqrt()
        return torch.atan2(sine, input), -1 / sine


class Atan(Sloped, functions=spellings("atan", "arctan")):
    """y with tan(y) = x. Derivation. (1 + tan^2(y)) dy/dx = 1, so dy/dx = 1 / (1 + x^2)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-40.0, 0.0, 0.3]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return torch.atan2(input, torch.ones_like(input)), 1 / (1 + input * input)


class Atan2(Rule, functions=spellings("atan2", "arctan2")):
    """y = the angle of the point (b, a), a upwards and b to the right.

    Derivation. tan(y) = a / b gives dy = (b da - a db) / (a^2 + b^2) for every quadrant. NaN at the origin.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("quadrants", torch.tensor([[0.5, 0.5], [-1.5, -0.2]]), torch.tensor([[0.7, -0.3], [-1.0, 2.0]]))
        yield case("broadcast", torch.randn(2, 3), torch.randn(3), function=torch.atan2)

    @staticmethod
    def kinks(input: Tensor, other: Tensor) -> int:
        return int(((input == 0) & (other == 0)).sum())

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        return torch.atan2(input, other), (input, other)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        a, b = cache
        share = dy / (a * a + b * b)
        return to_operand(share * b, a), to_operand(-share * a, b)


class Sinc(Sloped, functions=spellings("sinc"), cancels=True):
    """y = sin(pi x) / (pi x), and 1 at x = 0.

    Derivation. With u = pi x: dy/dx = pi (u cos(u) - sin(u)) / u^2, and 0 at x = 0.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.3, 0.2, 2.0]]))
        yield case("zero", torch.tensor([0.0, 0.5]), smooth=False)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        u = math.pi * torch.where(input == 0, 1, input)
        slope = math.pi * (u * u.cos() - u.sin()) / (u * u)
        return torch.where(input == 0, 1, u.sin() / u), torch.where(input == 0, 0, slope)


class Deg2Rad(Sloped, functions=spellings("deg2rad")):
    """y = x pi / 180. Derivation. dy/dx = pi / 180."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-40.0, 0.0, 270.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input * (math.pi / 180), math.pi / 180


class Rad2Deg(Sloped, functions=spellings("rad2deg")):
    """y = x 180 / pi. Derivation. dy/dx = 180 / pi."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.5, 0.0, 6.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input * (180 / math.pi), 180 / math.pi
