"""The regularized incomplete gamma functions P and Q = 1 - P, the distribution function of the gamma distribution.

    P(a, x) = integral from 0 to x of t^(a-1) e^-t dt / Gamma(a)
For x < a + 1 the series of positive terms (DLMF 8.11.4; Abramowitz and Stegun 6.5.29)
    P = x^a e^-x / Gamma(a + 1) (1 + x / (a + 1) + x^2 / ((a + 1) (a + 2)) + ...)
beyond it the continued fraction (Abramowitz and Stegun 6.5.31, in its even part), by Lentz's method
    Q = x^a e^-x / Gamma(a) / (x + 1 - a - 1 (1 - a) / (x + 3 - a - 2 (2 - a) / (x + 5 - a - ...)))
Derivation. dx = dy x^(a-1) e^-x / Gamma(a), and minus that for Q. torch has no gradient for a.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.arithmetic import to_operand
from bptrain.reference.rules.gamma_function import log_gamma
from bptrain.reference.rules.slope import spellings

TERMS = 10_000  # enough for a of some millions


def _series(a: Tensor, x: Tensor) -> Tensor:
    total = term = 1 / a
    for n in range(1, TERMS):
        term = term * x / (a + n)
        total = total + term
        if not (term > 1e-17 * total).sum():
            break
    return total


def _fraction(a: Tensor, x: Tensor) -> Tensor:
    b = x + 1 - a
    c, d = torch.full_like(b, 1e300 if b.dtype is torch.float64 else 1e30), 1 / b
    y = d
    for n in range(1, TERMS):
        step, b = n * (a - n), b + 2
        d, c = 1 / (b + step * d), b + step / c
        y = y * c * d
        if not ((c * d - 1).abs() > 1e-16).sum():
            break
    return y


def incomplete_gamma(a: Tensor, x: Tensor, upper: bool) -> tuple[Tensor, Tensor]:
    """P, or Q if `upper`, and the density x^(a-1) e^-x / Gamma(a); 0 and 1 at the ends x = 0 and infinity."""
    inside = (x > 0) & x.isfinite() & (a > 0)
    near = inside & (x < a + 1)
    factor = (a * x.log() - x - log_gamma(a)).exp()
    p = factor * _series(torch.where(near, a, 1.0), torch.where(near, x, 0.5))
    q = factor * _fraction(torch.where(inside & ~near, a, 1.0), torch.where(inside & ~near, x, 3.0))
    y = torch.where(near, 1 - p, q) if upper else torch.where(near, p, 1 - q)
    # a = 0 is a distribution all at 0.
    end = torch.where((a >= 0) & (x >= 0) & (a + x > 0), (x > 0).to(x.dtype), math.nan)
    return torch.where(inside, y, 1 - end if upper else end), ((a - 1) * x.log() - x - log_gamma(a)).exp()


# torch's kernel is off by up to 4e-10 where it takes an asymptotic series, for a > 20 and x near a.
class GammaInc(Rule, functions=spellings("igamma", "gammainc"), inexact=1e-9):
    """y = P(a, x)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        a, x = torch.tensor([[0.3], [1.0], [7.5], [60.0]]), torch.tensor([0.05, 0.9, 8.0, 30.0, 100.0])
        yield case("both sides", a.expand(4, 5), x.expand(4, 5), constant=("input",))
        yield case("broadcast", torch.tensor(2.5), torch.tensor([[0.3, 7.0]]), constant=("input",))

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        a, x = torch.broadcast_tensors(input, other)
        y, density = incomplete_gamma(a, x, upper=False)
        return y, (other, density)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        other, density = cache
        return None, to_operand(dy * density, other)


class GammaIncC(Rule, functions=spellings("igammac", "gammaincc"), inexact=GammaInc.inexact):
    """y = Q(a, x)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return GammaInc.cases()

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        a, x = torch.broadcast_tensors(input, other)
        y, density = incomplete_gamma(a, x, upper=True)
        return y, (other, -density)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return GammaInc.backward(cache, dy)
