"""The pseudoinverse Y = A^+ (Moore 1920, Penrose 1955) and least squares, by the singular value decomposition.

With A = U S V^H, Y = V S^{-1} U^H over the singular values that are not taken for 0. How many these are is what torch's
own result tells: the rank of Y is the trace of A Y, which projects on the range.

Derivation. As long as the rank stays the same, a small change makes (Golub and Pereyra 1973)
    dY = -Y dA Y + Y Y^H dA^H (I - A Y) + (I - Y A) dA^H Y^H Y
so that with G the gradient of Y
    dA = -Y^H G Y^H + (I - A Y) G^H Y Y^H + Y^H Y G^H (I - Y A)
Least squares are X = A^+ B: with G the gradient of X, Y has the gradient G B^H, and dB = Y^H G.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.cholesky import positive
from bptrain.reference.rules.complex_number import real
from bptrain.reference.rules.degeneracy import vanishing
from bptrain.reference.rules.hermitian import from_triangle
from bptrain.reference.rules.singular_value import decomposed


def pseudoinverse(a: Tensor, rank: Tensor) -> Tensor:
    """Y (..., N, M) of the `rank` (...) largest singular values."""
    u, s, vh = decomposed(a)
    kept = torch.arange(s.shape[-1], device=s.device) < rank[..., None]
    return (vh.mH * torch.where(kept, 1 / s, 0)[..., None, :]) @ u.mH


def pseudoinverse_gradient(a: Tensor, y: Tensor, dy: Tensor) -> Tensor:
    """dA."""
    beyond = dy.mH @ y @ y.mH  # (..., M, N)
    before = y.mH @ y @ dy.mH
    return -y.mH @ dy @ y.mH + beyond - a @ (y @ beyond) + before - (before @ y) @ a


def lost_rank(a: Tensor) -> int:
    """How many singular values are 0 but for rounding, so that a small change of A can make its inverse infinite."""
    return int(vanishing(torch.linalg.svdvals(a)).sum())


class PInv(Rule, functions=[torch.linalg.pinv, torch.pinverse, Tensor.pinverse], random=True, complex=True):
    """Y, with the singular values below a bound taken for 0; with `hermitian` of the lower triangle of A."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("tall", torch.randn(4, 3))
        yield case("wide", torch.randn(2, 1, 2, 4), 1e-4)
        yield case("complex", torch.randn(3, 4, dtype=torch.complex64), rtol=1e-4, function=torch.linalg.pinv)
        yield case("rank lost", torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 1.0], [2.0, -1.0, 1.0]]), smooth=False)
        yield case("bound", torch.diag(torch.tensor([3.0, 1.0, 0.1])), atol=0.5, smooth=False)
        yield case("Hermitian", positive(3, 3) - 2 * torch.eye(3), hermitian=True, smooth=False)

    @staticmethod
    def kinks(input: Tensor, *args: Any, **kwargs: Any) -> int:
        return lost_rank(input)

    @staticmethod
    def forward(
        input: Tensor,
        rcond: Any = None,
        hermitian: bool = False,
        *,
        atol: Any = None,
        rtol: Any = None,
        again: Callable,
    ) -> tuple[Tensor, Any]:
        given = {"rcond": rcond, "atol": atol, "rtol": rtol, "hermitian": hermitian or None}
        read = again(input, **{name: value for name, value in given.items() if value is not None})
        a = from_triangle(input) if hermitian else input
        y = pseudoinverse(a, real((a.mT * read).sum((-2, -1))).round())
        return y, (a, y)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        a, y = cache
        return pseudoinverse_gradient(a, y, dy)


class LstSq(Rule, functions=[torch.linalg.lstsq], random=True, complex=True):
    """X with the smallest |A X - B|^2, the smallest such X; what is left of it where A has more rows and full rank; its
    rank and, from some drivers, its singular values.

    Derivation. What is left, the squared length of R = B - A X by columns, changes by 2 Re R^H (dB - dA X), since
    A^H R = 0: with its gradient G, dB gets 2 R G and dA -2 R G X^H.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("more rows", torch.randn(4, 3), torch.randn(4, 2))
        yield case("more columns", torch.randn(2, 2, 4), torch.randn(2, 2, 3))
        yield case("square", torch.randn(3, 3), torch.randn(3, 1), driver="gels")
        yield case("vectors", torch.randn(2, 4, 3), torch.randn(2, 4))
        yield case("values", torch.randn(4, 3), torch.randn(4, 2), driver="gelsd", smooth=False)  # without gradient
        yield case("complex", torch.randn(4, 3, dtype=torch.complex64), torch.randn(4, 2, dtype=torch.complex64))

    @staticmethod
    def kinks(input: Tensor, *args: Any, **kwargs: Any) -> int:
        return lost_rank(input)

    @staticmethod
    def forward(
        input: Tensor, b: Tensor, rcond: float | None = None, *, driver: str | None = None, again: Callable
    ) -> tuple[tuple[Tensor, ...], Any]:
        _, left, rank, values = again(input, b, rcond, driver=driver)
        vectors = b.dim() == 1 or b.shape == input.shape[:-1]
        columns = b[..., None] if vectors else b  # (..., M, K)
        full = torch.full(input.shape[:-2], min(input.shape[-2:]), device=input.device)
        y = pseudoinverse(input, rank if rank.numel() else full)
        x = y @ columns
        rest = columns - input @ x
        if left.numel():
            left = (rest.abs() ** 2).sum(-2)  # (..., K)
        values = decomposed(input)[1] if values.numel() else values
        solution = x[..., 0] if vectors else x
        return (solution, left, rank, values), (input, b.shape, columns, y, x, rest, vectors)

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        a, shape, columns, y, x, rest, vectors = cache
        dx, dleft = dy[0][..., None] if vectors else dy[0], dy[1]
        da, db = pseudoinverse_gradient(a, y, dx @ columns.mH), y.mH @ dx
        if dleft.numel():
            drest = 2 * rest * dleft[..., None, :]
            da, db = da - drest @ x.mH, db + drest
        return sum_to(da, a.shape), sum_to(db[..., 0] if vectors else db, shape)
