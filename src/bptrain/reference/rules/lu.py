"""LU factorization A = P L U with rows interchanged: L lower triangular with 1 on its diagonal, U upper triangular.

Since a_ij = sum_k l_ik u_kj, column k of L u_kk and row k of U are what is left of those of A after the products of
what is known (Crout 1941); before that the row with the largest element of this column is swapped with row k.
Source: Golub and Van Loan, Matrix Computations (2013), 3.2 and 3.4.

Derivation. A small change of a square A makes L^{-1} P^H dA U^{-1} = L^{-1} dL + dU U^{-1}. The first term is lower
triangular with zeros on the diagonal, the second upper triangular, so each is its part of the left side, and
    dA = P L^{-H} (tril(L^H GL, -1) + triu(GU U^H)) U^{-H}
with GL and GU the gradients of L and U. The columns of a wide A that go beyond are A2 = P L U2: with R = L^{-H} GU2
they get P R, and L gets -R U2^H. The rows of a tall one are L2 U: with S = GL2 U^{-H} they get S, and U gets -L2^H S.

A X = B: as dA X + A dX = dB for small changes, with G the gradient of X (Giles 2008)
    dB = A^{-H} G,   dA = -dB X^H
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.reference.rules.degeneracy import lifted
from bptrain.reference.rules.triangular import substituted, substituted_right


class Factors(NamedTuple):
    """P (..., M, M), L (..., M, K) and U (..., K, N) of A (..., M, N), with K the smaller of M and N."""

    permutation: Tensor
    lower: Tensor
    upper: Tensor


def eliminated(a: Tensor, pivot: bool = True) -> tuple[Tensor, Tensor]:
    """L below the diagonal and U above in one matrix like A, and for each of its rows the place in A."""
    lu = a.clone()
    order = torch.arange(a.shape[-2], device=a.device).repeat(*a.shape[:-2], 1)
    for k in range(min(a.shape[-2:])):
        lu[..., k:, k : k + 1] -= lu[..., k:, :k] @ lu[..., :k, k : k + 1]  # (..., M - k, 1)
        if pivot:
            largest = lu[..., k:, k].abs().argmax(-1, keepdim=True) + k  # (..., 1)
            _swap(order, -1, k, largest)
            _swap(lu, -2, k, largest[..., None].expand(*a.shape[:-2], 1, a.shape[-1]))
        lu[..., k : k + 1, k + 1 :] -= lu[..., k : k + 1, :k] @ lu[..., :k, k + 1 :]  # (..., 1, N - k - 1)
        below = lu[..., k + 1 :, k : k + 1]
        below.copy_(torch.where(below == 0, 0, below / lu[..., k : k + 1, k : k + 1]))  # a column of zeros stays
    pivots = lu.diagonal(0, -2, -1)
    pivots.copy_(lifted(pivots))
    return lu, order


def _swap(x: Tensor, dim: int, k: int, other: Tensor) -> None:
    """Element k along an axis with the one at the place `other`."""
    here = x.narrow(dim, k, 1).clone()
    x.narrow(dim, k, 1).copy_(x.gather(dim, other))
    x.scatter_(dim, other, here)


def swapped(pivots: Tensor, rows: int) -> Tensor:
    """The place in A of each row after row i was swapped with row pivots_i - 1, one i after the other."""
    order = torch.arange(rows, device=pivots.device).repeat(*pivots.shape[:-1], 1)
    for i in range(pivots.shape[-1]):
        _swap(order, -1, i, pivots[..., i : i + 1].long() - 1)
    return order


def permutation(order: Tensor, dtype: torch.dtype) -> Tensor:
    """P (..., M, M), whose column i has its 1 at the place of row i."""
    return (torch.arange(order.shape[-1], device=order.device)[:, None] == order[..., None, :]).to(dtype)


def unpacked(lu: Tensor, order: Tensor) -> Factors:
    k = min(lu.shape[-2:])
    ones = torch.eye(lu.shape[-2], k, dtype=lu.dtype, device=lu.device)
    return Factors(permutation(order, lu.dtype), lu[..., :k].tril(-1) + ones, lu[..., :k, :].triu())


def factored(a: Tensor) -> Factors:
    return unpacked(*eliminated(a))


def factored_gradient(factors: Factors, dlower: Tensor, dupper: Tensor) -> Tensor:
    """dA by the gradients of L and U."""
    p, lower, upper = factors
    k = lower.shape[-1]
    low, up = lower[..., :k, :], upper[..., :k]
    right = substituted(low.mH, dupper[..., k:], upper=True)  # (..., K, N - K)
    below = substituted_right(up.mH, dlower[..., k:, :])  # (..., M - K, K)
    dlow = dlower[..., :k, :] - right @ upper[..., k:].mH
    dup = dupper[..., :k] - lower[..., k:, :].mH @ below
    middle = (low.mH @ dlow).tril(-1) + (dup @ up.mH).triu()
    square = substituted_right(up.mH, substituted(low.mH, middle, upper=True))  # (..., K, K)
    wide = upper.shape[-1] > k
    return p @ (torch.cat([square, right], -1) if wide else torch.cat([square, below], -2))


def solved(factors: Factors, b: Tensor, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with A X = B, or without `left` X A = B, where A^H stands for A with `adjoint`."""
    if not left:
        return solved(factors, b.mH, adjoint=not adjoint).mH
    p, lower, upper = factors
    if adjoint:
        return p @ substituted(lower.mH, substituted(upper.mH, b), upper=True)
    return substituted(upper, substituted(lower, p.mT @ b), upper=True)


def solved_gradients(
    factors: Factors, x: Tensor, dx: Tensor, left: bool = True, adjoint: bool = False
) -> tuple[Tensor, Tensor]:
    """dA and dB of `solved`."""
    db = solved(factors, dx, left, not adjoint)
    da = -db @ x.mH if left else -x.mH @ db
    return da.mH if adjoint else da, db
