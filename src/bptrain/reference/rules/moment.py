"""Variance and standard deviation, alone and together with the mean.

    m = sum_k x_k / n,   v = sum_k (x_k - m)^2 / (n - c),   s = sqrt(v)

over the n elements along the axes `dim`, with the correction c: 1 unless told, 0 with unbiased=False.

Derivation. With r_k = x_k - m, dv/dx_i = sum_k 2 r_k ([i = k] - 1/n) / (n - c) = 2 r_i / (n - c), because
sum_k r_k = 0. Then ds/dx_i = dv/dx_i / (2 s) = r_i / ((n - c) s), and dm/dx_i = 1 / n.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.reduction import drop_axes, keep_axes, reduced_axes


@dataclass
class Moments:
    """Mean and variance of a tensor, with the reduced axes kept as axes of size 1."""

    mean: Tensor
    variance: Tensor
    residual: Tensor  # x - mean
    n: int
    scale: float  # n - c
    dim: Any

    def give(self, y: Tensor, keepdim: bool) -> Tensor:
        return drop_axes(y, self.dim, keepdim)

    def variance_gradient(self, dy: Tensor) -> Tensor:
        return 2 * self.residual / self.scale * keep_axes(dy, self.residual, self.dim)

    def deviation_gradient(self, dy: Tensor) -> Tensor:
        """Convention where s = 0: 0, although the slope is infinite there."""
        s = self.variance.sqrt()
        slope = torch.where(s == 0, 0, self.residual / (self.scale * s))
        return slope * keep_axes(dy, self.residual, self.dim)

    def mean_gradient(self, dy: Tensor) -> Tensor:
        return keep_axes(dy, self.residual, self.dim) / self.n


def moments(x: Tensor, dim: Any, unbiased: bool, correction: float | None) -> Moments:
    """The moments as one of torch's signatures asks for them; var(x, False) has `unbiased` in the place of `dim`."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    axes = reduced_axes(x, dim)
    n = math.prod(x.shape[axis] for axis in axes)
    scale = n - (int(unbiased) if correction is None else correction)
    mean = x.sum(axes, keepdim=True) / n
    residual = x - mean
    return Moments(mean, residual.square().sum(axes, keepdim=True) / scale, residual, n, scale, dim)


def _cases() -> Iterable[Case]:
    yield case("all", torch.randn(2, 3))
    yield case("one axis", torch.randn(2, 3, 2), 1)
    yield case("two axes", torch.randn(2, 3, 4), dim=(0, -1), keepdim=True)
    yield case("correction", torch.randn(4, 3), 0, correction=2)
    yield case("of a population", torch.randn(4, 3), unbiased=False)
    yield case("of a population, by position", torch.randn(4, 3), False)
    yield case("of a population along an axis", torch.randn(4, 3), 0, False, True)
    yield case("all equal", torch.tensor([[2.0, 2.0, 2.0], [0.5, 1.5, 1.0]]), 1, smooth=False)


class Var(Rule, functions=[torch.var, Tensor.var]):
    """y = v. Derivation. dx_i = dy 2 r_i / (n - c)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    @staticmethod
    def forward(
        input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
    ) -> tuple[Tensor, Any]:
        m = moments(input, dim, unbiased, correction)
        return m.give(m.variance, keepdim), m

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return cache.variance_gradient(dy)


class Std(Rule, functions=[torch.std, Tensor.std]):
    """y = s. Derivation. dx_i = dy r_i / ((n - c) s), and 0 where s = 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    @staticmethod
    def kinks(
        input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
    ) -> int:
        return int((moments(input, dim, unbiased, correction).variance == 0).sum())

    @staticmethod
    def forward(
        input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
    ) -> tuple[Tensor, Any]:
        m = moments(input, dim, unbiased, correction)
        return m.give(m.variance.sqrt(), keepdim), m

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return cache.deviation_gradient(dy)


class VarMean(Rule, functions=[torch.var_mean]):
    """y = v, m. Derivation. dx_i = dv 2 r_i / (n - c) + dm / n."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    @staticmethod
    def forward(
        input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
    ) -> tuple[tuple[Tensor, Tensor], Any]:
        m = moments(input, dim, unbiased, correction)
        return (m.give(m.variance, keepdim), m.give(m.mean, keepdim)), m

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> Tensor:
        return cache.variance_gradient(dy[0]) + cache.mean_gradient(dy[1])


class StdMean(Rule, functions=[torch.std_mean]):
    """y = s, m. Derivation. dx_i = ds r_i / ((n - c) s) + dm / n, without the first term where s = 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    kinks = staticmethod(Std.kinks)

    @staticmethod
    def forward(
        input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
    ) -> tuple[tuple[Tensor, Tensor], Any]:
        m = moments(input, dim, unbiased, correction)
        return (m.give(m.variance.sqrt(), keepdim), m.give(m.mean, keepdim)), m

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> Tensor:
        return cache.deviation_gradient(dy[0]) + cache.mean_gradient(dy[1])
