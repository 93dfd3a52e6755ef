"""Kin of the error function erf (see `elementwise.py`): complement and inverse, the normal distribution and its own."""

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


def scaled_erfc(x: Tensor) -> Tensor:
    """exp(x^2) erfc(x): from 7 on by the asymptotic series (DLMF 7.12.1), which falls below rounding there,

    1 / (x sqrt(pi)) (1 + sum over k >= 1 of (-1)^k 1 3 ... (2k - 1) / (2 x^2)^k)
    """
    near, far = x.clamp_max(7), x.clamp_min(7)
    term = 1 / (math.sqrt(math.pi) * far)
    series = term
    for k in range(1, 25):
        term = -term * (2 * k - 1) / (2 * far * far)
        series = series + term
    return torch.where(x > 7, series, torch.exp(near * near) * near.erfc())


def inverse_erfc(rest: Tensor) -> Tensor:
    """The y >= 0 with erfc(y) = rest, NaN beyond [0, 1].

    Solved by Newton's steps for log erfc, which is nearly a parabola, from Winitzki's approximation.
    """
    log = torch.log(rest * (2 - rest))
    middle = 2 / (math.pi * 0.147) + log / 2
    y = torch.sqrt((torch.sqrt(middle * middle - log / 0.147) - middle).clamp_min(0))
    for _ in range(4):
        w = scaled_erfc(y)
        y = y + (w.log() - y * y - rest.log()) * (math.sqrt(math.pi) / 2) * w
    return torch.where(rest > 0, y, torch.where(rest == 0, math.inf, math.nan))


class Erfcx(Sloped, functions=spellings("erfcx"), cancels=True):
    """y = exp(x^2) erfc(x). Derivation. dy/dx = 2 x y - 2 / sqrt(pi), two terms that nearly cancel for large x."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-3.0, 0.0, 0.7], [6.9, 7.1, 300.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y = scaled_erfc(input)
        return y, 2 * input * y - 2 / math.sqrt(math.pi)


class Erfinv(Sloped, functions=spellings("erfinv")):
    """y with erf(y) = x. Derivation. 2 / sqrt(pi) exp(-y^2) dy/dx = 1.

    The tail 1 - |x| is solved for, and a last of Newton's steps makes a small y exact.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-0.9, 0.0, 0.3]]))
        yield case("ends", torch.tensor([-1.0, -0.9999, 1.0]), smooth=False)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        size = input.abs()
        y = inverse_erfc(1 - size)
        slope = math.sqrt(math.pi) / 2 * torch.exp(y * y)
        y = torch.where(size < 0.5, y - (y.erf() - size) * slope, y)
        return y * input.sign(), slope


class Ndtr(Sloped, functions=spellings("ndtr")):
    """y = (1 + erf(x / sqrt(2))) / 2, the normal distribution. Derivation. dy/dx = exp(-x^2 / 2) / sqrt(2 pi).

    torch forms it by this sum, which cancels far below 0; so does the rule, so that the rounding is seen.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-5.0, 0.0, 0.7]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return (1 + torch.erf(input / math.sqrt(2))) / 2, torch.exp(-input * input / 2) / math.sqrt(2 * math.pi)


class LogNdtr(Sloped, functions=spellings("log_ndtr")):
    """y = log of the normal distribution P(x) = erfc(-x / sqrt(2)) / 2.

    Derivation. dy/dx = exp(-x^2 / 2) / (sqrt(2 pi) P(x)) = exp(-x^2 / 2 - y) / sqrt(2 pi), the way torch goes too, so
    that the rounding is seen: the exponent cancels for large negative x. Below 0 y is log(w / 2) - x^2 / 2 with
    w = exp(x^2 / 2) erfc(-x / sqrt(2)), above it log(1 - P(-x)), so that nothing is lost near 1.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-50.0, -5.0, -0.3], [0.0, 0.7, 9.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        half = input * input / 2
        below = torch.log(scaled_erfc(-input / math.sqrt(2)) / 2) - half
        y = torch.where(input < 0, below, torch.log1p(-torch.erfc(input / math.sqrt(2)) / 2))
        return y, torch.exp(-half - y) / math.sqrt(2 * math.pi)


class Ndtri(Sloped, functions=spellings("ndtri")):
    """y with P(y) = x for the normal distribution P. Derivation. exp(-y^2 / 2) / sqrt(2 pi) dy/dx = 1.

    Solved in the nearer tail, as 2 x or 2 (1 - x) = erfc(|y| / sqrt(2)).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("inside", torch.tensor([[0.02, 0.3, 0.5, 0.97]]))
        yield case("ends", torch.tensor([0.0, 1e-30, 1.0]), smooth=False)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        size = math.sqrt(2) * inverse_erfc(2 * torch.minimum(input, 1 - input))
        slope = math.sqrt(2 * math.pi) * torch.exp(size * size / 2)
        return torch.where(input < 0.5, -size, size), slope
