"""Vector norms: y = (sum_k |x_k|^p)^(1/p), the largest |x_k| for p = inf.

Derivation. y^p = sum_k |x_k|^p gives p y^(p-1) dy/dx_i = p |x_i|^(p-1) sign(x_i), so
    dx_i = dy sign(x_i) (|x_i| / y)^(p-1),   sign(x_i) = x_i / |x_i|
Conventions: 0 for x_i = 0 (so 0 for the zero vector, whose norm has no derivative); for p = inf the m
largest |x_k| get dy sign(x_k) / m each. The norm of order 0 counts the x_k that are not 0, with the slope 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.reduction import Axes, drop_axes, keep_axes, reduced_axes


def vector_norm(x: Tensor, p: float, dim: Axes, keepdim: bool) -> tuple[Tensor, Any]:
    """The p-norm of `x` along the axes `dim`, and what `vector_norm_gradient` needs."""
    axes = reduced_axes(x, dim)
    size = x.abs()
    if math.isinf(p):
        y = size.amax(axes, keepdim=True) if p > 0 else size.amin(axes, keepdim=True)
        hit = (size == y).to(size.dtype)
        slope = x.sgn() * hit / hit.sum(axes, keepdim=True)
    elif p == 0:
        y, slope = (x != 0).to(size.dtype).sum(axes, keepdim=True), torch.zeros_like(x)
    else:
        y = (size**p).sum(axes, keepdim=True) ** (1 / p)
        slope = torch.where(x == 0, 0, x.sgn() * (size / y) ** (p - 1))
    return drop_axes(y, dim, keepdim), (x, dim, slope)


def vector_norm_gradient(cache: Any, dy: Tensor) -> Tensor:
    """dx of `vector_norm`."""
    x, dim, slope = cache
    return keep_axes(dy, x, dim) * slope


def norm_kinks(x: Tensor, p: float, dim: Axes) -> Tensor:
    """How many kinks each p-norm of x along the axes `dim`, kept as axes of size 1, sits on.

    They are the zero vector, for p <= 1 each x_k = 0, and for p = inf several largest |x_k| too.
    """
    axes = reduced_axes(x, dim)
    zero = (x == 0).sum(axes, keepdim=True)
    if math.isinf(p):
        size = x.abs()
        extreme = size.amax(axes, keepdim=True) if p > 0 else size.amin(axes, keepdim=True)
        return (((size == extreme).sum(axes, keepdim=True) > 1) | (extreme == 0)).long()
    if p <= 1:
        return zero * (p != 0)
    return (zero == x.numel() // zero.numel()).long()


class VectorNorm(Rule, functions=[torch.linalg.vector_norm], complex=True):
    """y = the `ord`-norm of x along the axes `dim`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.tensor([[0.5, -1.5, 2.0], [-0.3, 3.0, 0.1]])
        yield case("Euclidean", x)
        for order in (1, 3, 1.5, 0.5, -1, torch.inf, -torch.inf):
            yield case(f"order {order}", x, order, -1)
        yield case("two axes", torch.randn(2, 3, 4), dim=(0, -1), keepdim=True)
        yield case("dtype", torch.randn(2, 3), 2, 0, False, dtype=torch.float64)
        yield case("complex", torch.randn(2, 3, dtype=torch.complex64), 3, 1)
        kinks = torch.tensor([[0.0, 0.0, 0.0], [2.0, -2.0, 0.0]])
        for order in (1, 1.5, 2, 3, torch.inf):
            yield case(f"order {order}, kinks", kinks, ord=order, dim=1, smooth=False)

    @staticmethod
    def kinks(x: Tensor, ord: float = 2, dim: Axes = None, *args: Any, **kwargs: Any) -> int:
        return int(norm_kinks(x, float(ord), dim).sum())

    @staticmethod
    def forward(
        x: Tensor, ord: float = 2, dim: Axes = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Any]:
        return vector_norm(x, float(ord), dim, keepdim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return vector_norm_gradient(cache, dy)
