"""Linear systems A X = B and inverses, by the LU factorization of A: see `lu.py` for it and the derivation.

A^{-1} solves them for B = I, so that with G its gradient dA = -A^{-H} G A^{-H}.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.lu import factored, solved, solved_gradients


def inverse(a: Tensor) -> Tensor:
    return solved(factored(a), torch.eye(a.shape[-1], dtype=a.dtype, device=a.device))


def inverse_gradient(y: Tensor, dy: Tensor) -> Tensor:
    """dA by Y = A^{-1}."""
    return -y.mH @ dy @ y.mH


def _complex(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex64)


class Solve(Rule, functions=[torch.linalg.solve], complex=True):
    """X with A X = B, or without `left` X A = B; B holds vectors where it has the shape of A without its last axis."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(3, 3), torch.randn(3, 2))
        yield case("vector", torch.randn(2, 3, 3), torch.randn(3))
        yield case("vectors", torch.randn(2, 3, 3), torch.randn(2, 3))
        yield case("broadcast", torch.randn(2, 1, 3, 3), torch.randn(4, 3, 2))
        yield case("right", torch.randn(2, 3, 3), torch.randn(4, 3), left=False)
        yield case("complex", _complex(3, 3), _complex(2, 3, 2))

    @staticmethod
    def forward(A: Tensor, B: Tensor, *, left: bool = True) -> tuple[Tensor, Any]:
        vectors = B.dim() == 1 or B.shape == A.shape[:-1]
        factors = factored(A)
        x = solved(factors, B[..., None] if vectors else B, left)
        return x[..., 0] if vectors else x, (factors, x, A.shape, B.shape, left, vectors)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        factors, x, shape, b_shape, left, vectors = cache
        da, db = solved_gradients(factors, x, dy[..., None] if vectors else dy, left)
        return sum_to(da, shape), sum_to(db[..., 0] if vectors else db, b_shape)


class SolveEx(Rule, functions=[torch.linalg.solve_ex], complex=True):
    """X, and for each matrix 0, for not singular."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(2, 3, 3), torch.randn(2, 3, 4))
        yield case("right", torch.randn(3, 3), torch.randn(2, 3), left=False, check_errors=True)

    @staticmethod
    def forward(
        A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False
    ) -> tuple[tuple[Tensor, Tensor], Any]:
        y, cache = Solve.forward(A, B, left=left)
        return (y, A.new_zeros(A.shape[:-2], dtype=torch.int32)), cache

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return Solve.backward(cache, dy[0])


class Inverse(Rule, functions=[torch.linalg.inv, torch.inverse, Tensor.inverse], complex=True):
    """Y = A^{-1}."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(3, 3))
        yield case("batch", torch.randn(2, 1, 3, 3))
        yield case("complex", _complex(3, 3))

    @staticmethod
    def arranged(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return args, {"A" if name == "input" else name: value for name, value in kwargs.items()}

    @staticmethod
    def forward(A: Tensor) -> tuple[Tensor, Any]:
        y = inverse(A)
        return y, y

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return inverse_gradient(cache, dy)


class InverseEx(Rule, functions=[torch.linalg.inv_ex], complex=True):
    """Y, and for each matrix 0, for not singular."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("batch", torch.randn(2, 3, 3), check_errors=True)

    @staticmethod
    def forward(A: Tensor, *, check_errors: bool = False) -> tuple[tuple[Tensor, Tensor], Any]:
        y = inverse(A)
        return (y, A.new_zeros(A.shape[:-2], dtype=torch.int32)), y

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> Tensor:
        return inverse_gradient(cache, dy[0])


class TensorInverse(Rule, functions=[torch.linalg.tensorinv], complex=True):
    """The inverse of A as a matrix whose rows are its first `ind` axes, with the other axes first."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("two axes", torch.randn(2, 3, 6))
        yield case("one axis", torch.randn(6, 3, 2), 1)

    @staticmethod
    def forward(input: Tensor, ind: int = 2) -> tuple[Tensor, Any]:
        rows = math.prod(input.shape[:ind])
        y = inverse(input.reshape(rows, -1))
        return y.reshape(*input.shape[ind:], *input.shape[:ind]), (y, input.shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        y, shape = cache
        return inverse_gradient(y, dy.reshape(y.shape)).reshape(shape)


class TensorSolve(Rule, functions=[torch.linalg.tensorsolve], complex=True):
    """X with tensordot(A, X) = B over all axes of X, after the axes `dims` of A were moved to its end."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("as they are", torch.randn(2, 3, 6), torch.randn(2, 3))
        yield case("moved", torch.randn(3, 6, 2), torch.randn(3, 2), dims=(1,))

    @staticmethod
    def forward(input: Tensor, other: Tensor, dims: Sequence[int] | None = None) -> tuple[Tensor, Any]:
        moved = [d % input.dim() for d in dims or ()]
        order = [d for d in range(input.dim()) if d not in moved] + moved
        a = input.permute(order)
        x, cache = Solve.forward(a.reshape(other.numel(), -1), other.reshape(-1))
        return x.reshape(a.shape[other.dim() :]), (cache, a.shape, order, other.shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        cache, shape, order, other_shape = cache
        da, db = Solve.backward(cache, dy.reshape(-1))
        return da.reshape(shape).permute([order.index(d) for d in range(len(order))]), db.reshape(other_shape)
