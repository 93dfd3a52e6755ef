"""Triangular systems T X = B, solved by substitution, row by row; those of an upper T from the last one on.

    x_i = (b_i - sum_{j<i} t_ij x_j) / t_ii

Derivation. dT X + T dX = dB for small changes, so with G the gradient of X (Giles, An extended collection of matrix
derivative results, 2008):
    dB = T^{-H} G,   dT = -dB X^H
where T has elements; there is no gradient in the other triangle, nor on the diagonal if it is 1. X T = B is the adjoint
of T^H X^H = B^H.
Source: Golub and Van Loan, Matrix Computations (2013), 3.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to


def substituted(t: Tensor, b: Tensor, upper: bool = False, unit: bool = False) -> Tensor:
    """X (..., N, K) with T X = B; T (..., N, N) is read in one triangle, and with `unit` its diagonal is 1."""
    n = t.shape[-1]
    x = b.expand(*torch.broadcast_shapes(t.shape[:-2], b.shape[:-2]), *b.shape[-2:]).clone()
    for i in reversed(range(n)) if upper else range(n):
        known = slice(i + 1, n) if upper else slice(0, i)
        row = x[..., i : i + 1, :] - t[..., i : i + 1, known] @ x[..., known, :]  # (..., 1, K)
        x[..., i : i + 1, :] = row if unit else row / t[..., i : i + 1, i : i + 1]
    return x


def substituted_right(t: Tensor, b: Tensor, upper: bool = False, unit: bool = False) -> Tensor:
    """X (..., K, N) with X T = B."""
    return substituted(t.mH, b.mH, not upper, unit).mH


class SolveTriangular(Rule, functions=[torch.linalg.solve_triangular], complex=True):
    """X with T X = B, or X T = B without `left`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        t = torch.randn(3, 3) + 3 * torch.eye(3)
        z = torch.randn(2, 3, 3, dtype=torch.complex64) + 3 * torch.eye(3)
        yield case("lower", t, torch.randn(3, 2), upper=False)
        yield case("upper, broadcast", t, torch.randn(4, 1, 3, 2), upper=True)
        yield case("right", torch.randn(2, 1, 3, 3), torch.randn(4, 2, 3), upper=True, left=False)
        yield case("unit", torch.randn(2, 3, 3), torch.randn(3, 1), upper=False, unitriangular=True)
        yield case("complex", z, torch.randn(2, 3, dtype=torch.complex64), upper=False, left=False)

    @staticmethod
    def forward(
        input: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
    ) -> tuple[Tensor, Any]:
        x = (substituted if left else substituted_right)(input, B, upper, unitriangular)
        return x, (input, B.shape, x, upper, left, unitriangular)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        t, shape, x, upper, left, unit = cache
        db = (substituted if left else substituted_right)(t.mH, dy, not upper, unit)
        dt = -db @ x.mH if left else -x.mH @ db
        dt = dt.triu(int(unit)) if upper else dt.tril(-int(unit))
        return sum_to(dt, t.shape), sum_to(db, shape)


class OldTriangularSolve(Rule, functions=[torch.triangular_solve, Tensor.triangular_solve], complex=True):
    """X with T X = B or T^T X = B, and a copy of T, whose gradient is added."""

    @staticmethod
    def cases() -> Iterable[Case]:
        t = torch.randn(3, 3) + 3 * torch.eye(3)
        yield case("upper", torch.randn(2, 3, 2), t)
        yield case("transposed", torch.randn(3, 2), t, False, True, True)

    @staticmethod
    def forward(
        input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
    ) -> tuple[tuple[Tensor, Tensor], Any]:
        t = A.mT if transpose else A
        x, cache = SolveTriangular.forward(t, input, upper=upper != transpose, unitriangular=unitriangular)
        return (x, A.expand(*x.shape[:-2], *A.shape[-2:]).clone()), (cache, A.shape, transpose)

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        cache, shape, transpose = cache
        dt, db = SolveTriangular.backward(cache, dy[0])
        return db, sum_to(dy[1], shape) + (dt.mT if transpose else dt)
