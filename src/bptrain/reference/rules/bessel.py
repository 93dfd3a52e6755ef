"""Modified Bessel functions of the first kind, I_0 and I_1, as they are and scaled by exp(-|x|).

Derivation. Up to |x| = 20 the power series, whose terms all have one sign (DLMF 10.25.2):
    I_n(x) = (x / 2)^n sum over k >= 0 of (x^2 / 4)^k / (k! (k + n)!)
beyond it Hankel's expansion, whose terms fall below rounding before they grow (DLMF 10.40.1):
    I_n(x) = exp(x) / sqrt(2 pi x) sum over k >= 0 of (-1)^k a_k / x^k,   a_k = a_(k-1) (4 n^2 - (2k - 1)^2) / (8 k)
The slopes are those of DLMF 10.29.2 and 10.29.3: I_0' = I_1 and I_1' = I_0 - I_1 / x, which is 1/2 at 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, case
from bptrain.reference.rules.slope import Sloped, spellings

SMALL, TERMS, EXPANDED = 20, 50, 25


def scaled_bessel(n: int, x: Tensor) -> Tensor:
    """exp(-|x|) I_n(x)."""
    size = x.abs()
    near, far = size.clamp_max(SMALL), size.clamp_min(SMALL)
    term = (near / 2) ** n
    series = term
    for k in range(1, TERMS):
        term = term * near * near / (4 * k * (k + n))
        series = series + term
    term = 1 / (2 * math.pi * far).sqrt()
    expansion = term
    for k in range(1, EXPANDED):
        term = term * ((2 * k - 1) ** 2 - 4 * n * n) / (8 * k * far)
        expansion = expansion + term
    y = torch.where(size > SMALL, expansion, series * (-near).exp())
    return torch.where(x < 0, -y, y) if n % 2 else y


def _cases() -> Iterable[Case]:
    yield case("signs", torch.tensor([[-30.0, -0.3, 1e-3], [0.7, 19.0, 50.0]]))


class I0(Sloped, functions=spellings("i0")):
    """y = I_0(x). Derivation. dy/dx = I_1(x)."""

    cases = staticmethod(_cases)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        growth = input.abs().exp()
        return growth * scaled_bessel(0, input), growth * scaled_bessel(1, input)


class I0e(Sloped, functions=spellings("i0e")):
    """y = exp(-|x|) I_0(x). Derivation. dy/dx = exp(-|x|) I_1(x) - sign(x) y. Convention at the kink x = 0: 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield from _cases()
        yield case("kink", torch.tensor([0.0, 1.0]), smooth=False)

    @staticmethod
    def kinks(input: Tensor) -> int:
        return int((input == 0).sum())

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y = scaled_bessel(0, input)
        return y, scaled_bessel(1, input) - input.sign() * y


class I1(Sloped, functions=spellings("i1")):
    """y = I_1(x). Derivation. dy/dx = I_0(x) - I_1(x) / x."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield from _cases()
        yield case("zero", torch.tensor([0.0, 1.0]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        growth, y = input.abs().exp(), scaled_bessel(1, input)
        share = torch.where(input == 0, 0.5, y / input)
        return growth * y, growth * (scaled_bessel(0, input) - share)


class I1e(Sloped, functions=spellings("i1e")):
    """y = exp(-|x|) I_1(x). Derivation. dy/dx = exp(-|x|) (I_0(x) - I_1(x) / x) - sign(x) y, from both sides of 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield from _cases()
        yield case("bend", torch.tensor([0.0, 1.0]), smooth=False)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y = scaled_bessel(1, input)
        share = torch.where(input == 0, 0.5, y / input)
        return y, scaled_bessel(0, input) - share - input.sign() * y
