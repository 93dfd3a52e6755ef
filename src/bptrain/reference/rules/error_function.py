"""Kin of the error function erf (see `elementwise.py`): its complement, its inverse, the normal distribution."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, case
from bptrain.reference.rules.slope import Sloped, spellings


class Erfc(Sloped, functions=spellings("erfc")):
    """y = 1 - erf(x). Derivation. dy/dx = -2 / sqrt(pi) exp(-x^2)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-3.0, 0.0, 0.7]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.erfc(), -2 / math.sqrt(math.pi) * torch.exp(-input * input)


class Erfinv(Sloped, functions=spellings("erfinv")):
    """y with erf(y) = x. Derivation. 2 / sqrt(pi) exp(-y^2) dy/dx = 1.

    Solved by Newton's steps from Winitzki's approximation, each in the tail that erfc holds to full accuracy.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-0.9, 0.0, 0.3]]))
        yield case("ends", torch.tensor([-1.0, -0.9999, 1.0]), smooth=False)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        rest = 1 - input.abs()  # erfc of |y|
        log = torch.log(rest * (2 - rest))
        middle = 2 / (math.pi * 0.147) + log / 2
        y = torch.sqrt(torch.sqrt(middle * middle - log / 0.147) - middle)
        for _ in range(4):
            step = (y.erfc() - rest) * (math.sqrt(math.pi) / 2) * torch.exp(y * y)
            y = y + torch.where(rest > 0, step, 0)
        y = torch.where(rest > 0, y, torch.where(rest == 0, math.inf, math.nan)) * input.sign()
        return y, math.sqrt(math.pi) / 2 * torch.exp(y * y)


class Ndtr(Sloped, functions=[torch.special.ndtr]):
    """y = erfc(-x / sqrt(2)) / 2, the normal distribution. Derivation. dy/dx = exp(-x^2 / 2) / sqrt(2 pi)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-5.0, 0.0, 0.7]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return torch.erfc(-input / math.sqrt(2)) / 2, torch.exp(-input * input / 2) / math.sqrt(2 * math.pi)
