"""Hermitian matrices, A = A^H, of which torch reads one triangle: symmetric ones where they are real.

What a function of such a matrix gets back is the gradient among Hermitian matrices, of which each triangle has half.
Differences find it along Hermitian directions only, as the other triangle is not read.
"""

from __future__ import annotations

from torch import Tensor

ASYMMETRY = 1e-4  # relative: more than rounding a product such as X X^T leaves


def from_triangle(a: Tensor, upper: bool = False) -> Tensor:
    """The Hermitian matrix that has the lower or upper triangle of `a`, and the real part of its diagonal."""
    low = a.mH if upper else a
    half = (low.tril() + low.tril(-1)) / 2
    return half + half.mH


def one_triangle(a: Tensor) -> str:
    """The contract of functions of Hermitian matrices for one that is not."""
    apart = (a - a.mH).abs().sum() > ASYMMETRY * a.abs().sum()
    return "one triangle is read, and both get the gradient among symmetric matrices" if apart else ""
