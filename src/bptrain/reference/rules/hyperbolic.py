"""Hyperbolic sine and cosine, and the inverse functions of the hyperbola; tanh is in `sigmoid.py`.

torch has no gradient for the inverse functions in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, case
from bptrain.reference.rules.slope import Sloped, spellings


def sinh(x: Tensor) -> Tensor:
    """(exp(x) - exp(-x)) / 2 from two terms of one sign, so that nothing cancels near 0."""
    return (x.expm1() - (-x).expm1()) / 2


def cosh(x: Tensor) -> Tensor:
    """(exp(x) + exp(-x)) / 2."""
    return (x.exp() + (-x).exp()) / 2


class Sinh(Sloped, functions=spellings("sinh")):
    """y = (exp(x) - exp(-x)) / 2. Derivation. dy/dx = (exp(x) + exp(-x)) / 2 = cosh(x)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-3.0, 1e-3, 0.7]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return sinh(input), cosh(input)


class Cosh(Sloped, functions=spellings("cosh")):
    """y = (exp(x) + exp(-x)) / 2. Derivation. dy/dx = (exp(x) - exp(-x)) / 2 = sinh(x)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-3.0, 1e-3, 0.7]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return cosh(input), sinh(input)


class Asinh(Sloped, functions=spellings("asinh", "arcsinh", in_place=False)):
    """y with sinh(y) = x: y = log(x + sqrt(x^2 + 1)).

    Derivation. cosh(y) dy/dx = 1 and cosh(y) = sqrt(x^2 + 1). For |x| the argument of the logarithm is
    1 + |x| + x^2 / (1 + sqrt(x^2 + 1)), which is right near 0 too; the sign comes last.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-30.0, 1e-3, 0.7]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        size, root = input.abs(), (input * input + 1).sqrt()
        return input.sign() * torch.log1p(size + size * size / (1 + root)), 1 / root


class Acosh(Sloped, functions=spellings("acosh", "arccosh", in_place=False)):
    """y >= 0 with cosh(y) = x: y = log(x + sqrt(x^2 - 1)). Derivation. sinh(y) dy/dx = 1, sinh(y) = sqrt(x^2 - 1)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("above 1", torch.tensor([[1.1, 2.0, 30.0]]))

    @staticmethod
    def kinks(input: Tensor) -> int:
        return int((input == 1).sum())

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        root = (input * input - 1).sqrt()
        return torch.log1p(input - 1 + root), 1 / root


class Atanh(Sloped, functions=spellings("atanh", "arctanh", in_place=False)):
    """y with tanh(y) = x: y = log((1 + x) / (1 - x)) / 2. Derivation. (1 - tanh^2(y)) dy/dx = 1."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-0.9, 1e-3, 0.3]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return (input.log1p() - (-input).log1p()) / 2, 1 / (1 - input * input)
