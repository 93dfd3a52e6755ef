"""Norms of matrices, and the functions that give norms of vectors or of matrices; see `norm.py` for those of vectors.

    'fro'    the root of the sum of all |a_ij|^2
    'nuc'    the sum of the singular values s
    2, -2    the largest s, the smallest s
    1, -1    the largest sum of a column's |a_ij|, the smallest
    inf, -inf  of a row's

Derivation. With A = U S V^H, ds_k = Re u_k^H dA v_k, see `singular_value.py`: dA = dy U V^H for their sum, dy u_k v_k^H
for one. Sums of |a_ij| give dy a_ij / |a_ij| in the column that counts. Conventions: as for vectors, m equal sums get
dy / m each. Of equal singular values, or of the value 0, the vectors are any, and what comes back to these is not told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.degeneracy import resolution, told, vanishing
from bptrain.reference.rules.linear_system import inverse, inverse_gradient
from bptrain.reference.rules.norm import norm_kinks, vector_norm, vector_norm_gradient
from bptrain.reference.rules.reduction import Axes, drop_axes
from bptrain.reference.rules.singular_value import decomposed, values_gradient

MATRIX = (-2, -1)
QUOTIENTS = (None, 2, -2)  # orders of a condition number


def _extreme(values: Tensor, order: float, apart: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """The largest or, for a negative order, the smallest of values (..., N), and which ones it is."""
    y = values.amax(-1) if order > 0 else values.amin(-1)
    return y, (values - y[..., None]).abs() <= apart


def _shared(hit: Tensor, dtype: torch.dtype) -> Tensor:
    """1 / m for each of m."""
    return hit.to(dtype) / hit.sum(-1, keepdim=True)


def _singular(s: Tensor, order: Any) -> tuple[Tensor, Tensor]:
    """The sum, the largest or the smallest of the singular values, and its slope by each."""
    if order == "nuc":
        return s.sum(-1), told(torch.ones_like(s), vanishing(s))
    y, hit = _extreme(s, order, resolution(s))
    return y, told(_shared(hit, s.dtype), hit & ((hit.sum(-1, keepdim=True) > 1) | vanishing(s)))


def matrix_norm(x: Tensor, order: Any, dim: Sequence[int], keepdim: bool) -> tuple[Tensor, Any]:
    """The norm of the matrices that lie along two axes, and what `vector_norm_gradient` needs."""
    if order == "fro":
        return vector_norm(x, 2.0, tuple(dim), keepdim)
    a = x.movedim(tuple(dim), MATRIX)  # (..., M, N)
    if order == "nuc" or abs(order) == 2:
        of = decomposed(a)
        y, share = _singular(of[1], order)
        slope = values_gradient(of, share)
    else:
        along = -1 if math.isinf(order) else -2
        y, hit = _extreme(a.abs().sum(along), order)
        slope = a.sgn() * _shared(hit, y.dtype).unsqueeze(along)
    y = y[..., None, None].movedim(MATRIX, tuple(dim))
    return drop_axes(y, tuple(dim), keepdim), (x, tuple(dim), slope.movedim(MATRIX, tuple(dim)))


def matrix_norm_kinks(x: Tensor, order: Any, dim: Sequence[int]) -> int:
    """Zero matrices for 'fro', singular values 0 or equal to the one that counts, equal sums and zeros in them."""
    if order == "fro":
        return int(norm_kinks(x, 2.0, tuple(dim)).sum())
    a = x.movedim(tuple(dim), MATRIX)
    if order == "nuc" or abs(order) == 2:
        s = torch.linalg.svdvals(a)
        if order == "nuc":
            return int(vanishing(s).sum())
        hit = _extreme(s, order, resolution(s))[1]
        return int((hit & ((hit.sum(-1, keepdim=True) > 1) | vanishing(s))).sum())
    along = -1 if math.isinf(order) else -2
    hit = _extreme(a.abs().sum(along), order)[1]
    return int((hit.sum(-1) > 1).sum() + ((a == 0) & hit.unsqueeze(along)).sum())


class MatrixNorm(Rule, functions=[torch.linalg.matrix_norm], complex=True):
    """The norm `ord` of the matrices that lie along two axes."""

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.tensor([[0.5, -1.5, 2.0], [-0.3, 3.0, 0.1]])
        yield case("Frobenius", x)
        for order in ("nuc", 2, -2, 1, -1, math.inf, -math.inf):
            yield case(f"order {order}", x, order)
        yield case("axes", torch.randn(2, 4, 3), 1, (2, 0), True)
        yield case("axes, nuclear", torch.randn(2, 4, 3), "nuc", dim=(-1, 0), dtype=torch.float64)
        yield case("complex", torch.randn(2, 2, 3, dtype=torch.complex64), 2)
        yield case("complex, columns", torch.randn(2, 3, dtype=torch.complex64), 1)
        yield case("equal sums", torch.tensor([[1.0, 0.0, 3.0], [-2.0, 3.0, 0.0]]), 1, smooth=False)

    @staticmethod
    def kinks(input: Tensor, ord: Any = "fro", dim: Sequence[int] = MATRIX, *args: Any, **kwargs: Any) -> int:
        return matrix_norm_kinks(input, ord, dim)

    @staticmethod
    def forward(
        input: Tensor,
        ord: Any = "fro",
        dim: Sequence[int] = MATRIX,
        keepdim: bool = False,
        *,
        dtype: torch.dtype | None = None,
    ) -> tuple[Tensor, Any]:
        return matrix_norm(input, ord, dim, keepdim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return vector_norm_gradient(cache, dy)


class Norm(Rule, functions=[torch.norm, Tensor.norm], complex=True):
    """The p-norm of x along the axes `dim`, whatever their number; 'fro' is p = 2, 'nuc' is that of matrices."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", torch.randn(2, 3))
        yield case("sum of sizes", torch.randn(2, 3), 1, -1)
        yield case("matrix", torch.randn(2, 3, 4), dim=(0, 2), keepdim=True)
        yield case("nuclear", torch.randn(2, 3), "nuc")
        yield case("nuclear, axes", torch.randn(2, 3, 4), "nuc", (0, 2))
        yield case("zero vector", torch.zeros(3), smooth=False)

    @staticmethod
    def kinks(input: Tensor, p: Any = "fro", dim: Axes = None, *args: Any, **kwargs: Any) -> int:
        if p == "nuc":
            return matrix_norm_kinks(input, p, _both(dim))
        return int(norm_kinks(input, _power(p), dim).sum())

    @staticmethod
    def forward(
        input: Tensor,
        p: Any = "fro",
        dim: Axes = None,
        keepdim: bool = False,
        out: None = None,
        dtype: torch.dtype | None = None,
    ) -> tuple[Tensor, Any]:
        if p == "nuc":
            return matrix_norm(input, p, _both(dim), keepdim)
        return vector_norm(input, _power(p), dim, keepdim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return vector_norm_gradient(cache, dy)


class LinalgNorm(Rule, functions=[torch.linalg.norm], complex=True):
    """The Euclidean norm of all elements without `ord`, else the `ord`-norm of vectors or of matrices."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", torch.randn(2, 3, 2))
        yield case("vector", torch.randn(4), 3)
        yield case("vectors", torch.randn(2, 3), 1, 1)
        yield case("Frobenius", torch.randn(2, 3, 4), "fro", (0, 2), keepdim=True)
        yield case("matrix without order", torch.randn(2, 3, 4), dim=(0, 1))
        yield case("largest singular value", torch.randn(2, 3), 2)
        yield case("rows", torch.randn(2, 3, 4), torch.inf, (2, 0))

    @staticmethod
    def kinks(input: Tensor, ord: Any = None, dim: Axes = None, *args: Any, **kwargs: Any) -> int:
        if _is_of_matrix(input, ord, dim):
            return matrix_norm_kinks(input, ord, _both(dim))
        return int(norm_kinks(input, _power(ord), dim).sum())

    @staticmethod
    def forward(
        input: Tensor, ord: Any = None, dim: Axes = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Any]:
        if _is_of_matrix(input, ord, dim):
            return matrix_norm(input, ord, _both(dim), keepdim)
        return vector_norm(input, _power(ord), dim, keepdim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return vector_norm_gradient(cache, dy)


def _power(p: Any) -> float:
    return 2.0 if p is None or p == "fro" else float(p)


def _both(dim: Any) -> Sequence[int]:
    return MATRIX if dim is None else dim


def _is_of_matrix(x: Tensor, order: Any, dim: Any) -> bool:
    axes = x.dim() if dim is None else 1 if isinstance(dim, int) else len(dim)
    return order is not None and axes == 2


class Cond(Rule, functions=[torch.linalg.cond], complex=True):
    """|A| |A^{-1}| in one of the norms of matrices, s_1 / s_K for 2 and s_K / s_1 for -2.

    Derivation. Of the product, with dA^{-1} as for an inverse; of the quotient, by its two singular values.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("quotient", torch.randn(2, 4, 3))
        yield case("inverse quotient", torch.randn(3, 3), -2)
        yield case("sums", torch.randn(2, 3, 3), "nuc")  # of the others torch (2.13) has no gradient
        yield case("complex", torch.randn(3, 3, dtype=torch.complex64), "nuc")

    @staticmethod
    def kinks(input: Tensor, p: Any = None) -> int:
        if p in QUOTIENTS:
            return matrix_norm_kinks(input, 2, MATRIX) + matrix_norm_kinks(input, -2, MATRIX)
        return matrix_norm_kinks(input, p, MATRIX) + matrix_norm_kinks(inverse(input), p, MATRIX)

    @staticmethod
    def forward(input: Tensor, p: Any = None) -> tuple[Tensor, Any]:
        if p in QUOTIENTS:
            first, of_first = matrix_norm(input, -2 if p == -2 else 2, MATRIX, False)
            second, of_second = matrix_norm(input, 2 if p == -2 else -2, MATRIX, False)
            return first / second, (first, of_first, second, of_second, None)
        inverted = inverse(input)
        first, of_first = matrix_norm(input, p, MATRIX, False)
        second, of_second = matrix_norm(inverted, p, MATRIX, False)
        return first * second, (first, of_first, second, of_second, inverted)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        first, of_first, second, of_second, inverted = cache
        if inverted is None:
            dsecond = vector_norm_gradient(of_second, -dy * first / second**2)
            return vector_norm_gradient(of_first, dy / second) + dsecond
        dinverse = vector_norm_gradient(of_second, dy * first)
        return vector_norm_gradient(of_first, dy * second) + inverse_gradient(inverted, dinverse)
