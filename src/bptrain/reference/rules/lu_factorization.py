"""The functions that factor A = P L U and use the factors: see `lu.py` for what they are and their derivation.

The order of the rows is read from torch's own result, as another one may do as well: the factors are computed here.
What they are beyond the rank of A rounding alone tells, so that they are read too where A has lost rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.degeneracy import deficient, exact, told
from bptrain.reference.rules.lu import eliminated, factored_gradient, solved, solved_gradients, swapped, unpacked


def _ordered(a: Tensor, order: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
    """L and U in one matrix, of the rows of A in some order, and whether A has lost rank; `read` is what torch gave."""
    lu = eliminated(a.gather(-2, order[..., None].expand(a.shape)), pivot=False)[0]
    lost = deficient(lu, read)
    return torch.where(lost, read, lu) if exact(lu) else lu, lost


class LUFactor(
    Rule,
    functions=[torch.linalg.lu_factor, torch.linalg.lu_factor_ex, torch.lu, Tensor.lu],
    random=True,
    complex=True,
):
    """L and U in one matrix, what each row was swapped with, and for each matrix 0 where it is not singular."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("square", torch.randn(3, 3))
        yield case("tall", torch.randn(2, 4, 3))
        yield case("wide", torch.randn(2, 1, 3, 5))
        yield case("complex", torch.randn(3, 3, dtype=torch.complex64))
        yield case("infos", torch.randn(3, 3), get_infos=True, function=Tensor.lu)

    @staticmethod
    def forward(
        A: Tensor,
        pivot: bool = True,
        get_infos: bool = False,
        out: None = None,
        *,
        check_errors: bool = False,
        again: Callable,
    ) -> tuple[tuple[Tensor, ...], Any]:
        read, pivots, *infos = again(A, pivot=pivot, **({"get_infos": True} if get_infos else {}))
        order = swapped(pivots, A.shape[-2])
        lu, lost = _ordered(A, order, read)
        return (lu, pivots, *infos), (unpacked(lu, order), lost)

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, ...]) -> Tensor:
        factors, lost = cache
        k = min(dy[0].shape[-2:])
        return told(factored_gradient(factors, dy[0][..., :k], dy[0][..., :k, :]), lost)


class LU(Rule, functions=[torch.linalg.lu], random=True, complex=True):
    """P, L and U."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("square", torch.randn(2, 3, 3))
        yield case("tall", torch.randn(4, 2))
        yield case("wide, complex", torch.randn(3, 4, dtype=torch.complex64))

    @staticmethod
    def forward(A: Tensor, *, pivot: bool = True, again: Callable) -> tuple[tuple[Tensor, ...], Any]:
        p, lower, upper = again(A, pivot=pivot)
        order, k = p.abs().argmax(-2), upper.shape[-2]  # (..., M)
        read = torch.zeros_like(A)
        read[..., :k] += lower.tril(-1)
        read[..., :k, :] += upper
        lu, lost = _ordered(A, order, read)
        factors = unpacked(lu, order)
        return tuple(factors), (factors, lost)

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, ...]) -> Tensor:
        factors, lost = cache
        return told(factored_gradient(factors, dy[1], dy[2]), lost)


class LUUnpack(Rule, functions=[torch.lu_unpack], complex=True):
    """P, L and U, each empty where it is not asked for, of what `lu_factor` gives: elements picked."""

    @staticmethod
    def cases() -> Iterable[Case]:
        for shape in ((3, 3), (2, 4, 3), (3, 5)):
            yield case(str(shape), *torch.linalg.lu_factor(torch.randn(shape)))
        yield case("data only", *torch.linalg.lu_factor(torch.randn(3, 3)), unpack_pivots=False)

    @staticmethod
    def forward(
        LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
    ) -> tuple[tuple[Tensor, ...], Any]:
        p, lower, upper = unpacked(LU_data, swapped(LU_pivots, LU_data.shape[-2]))
        nothing = LU_data.new_zeros(0)
        y = (p if unpack_pivots else nothing, *((lower, upper) if unpack_data else (nothing, nothing)))
        return y, (LU_data, unpack_data)

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, ...]) -> Tensor:
        data, unpacks = cache
        gradient = torch.zeros_like(data)
        if unpacks:
            k = min(data.shape[-2:])
            gradient[..., :k] += dy[1].tril(-1)
            gradient[..., :k, :] += dy[2].triu()
        return gradient


class LUSolve(Rule, functions=[torch.linalg.lu_solve], complex=True):
    """X with A X = B, or without `left` X A = B, where A^H stands for A with `adjoint`; A by its factors.

    Derivation. With dA as for any such system, A = P L U gives dL = P^H dA U^H and dU = L^H P^H dA.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        lu, pivots = torch.linalg.lu_factor(torch.randn(2, 3, 3))
        z, of_z = torch.linalg.lu_factor(torch.randn(3, 3, dtype=torch.complex64))
        yield case("left", lu, pivots, torch.randn(4, 1, 3, 2))
        yield case("adjoint", lu, pivots, torch.randn(2, 3, 1), adjoint=True)
        yield case("right", lu, pivots, torch.randn(2, 4, 3), left=False)
        yield case("right, adjoint", z, of_z, torch.randn(2, 3, dtype=torch.complex64), left=False, adjoint=True)

    @staticmethod
    def forward(
        LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
    ) -> tuple[Tensor, Any]:
        factors = unpacked(LU, swapped(pivots, LU.shape[-2]))
        x = solved(factors, B, left, adjoint)
        return x, (factors, LU.shape, B.shape, x, left, adjoint)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, None, Tensor]:
        factors, shape, b_shape, x, left, adjoint = cache
        da, db = solved_gradients(factors, x, dy, left, adjoint)
        p, lower, upper = factors
        da = p.mT @ da
        dlu = (da @ upper.mH).tril(-1) + (lower.mH @ da).triu()
        return sum_to(dlu, shape), None, sum_to(db, b_shape)


class OldLUSolve(Rule, functions=[torch.lu_solve, Tensor.lu_solve], complex=True):
    """The same with B first."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("batch", torch.randn(2, 3, 2), *torch.linalg.lu_factor(torch.randn(2, 3, 3)))

    @staticmethod
    def forward(input: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> tuple[Tensor, Any]:
        return LUSolve.forward(LU_data, LU_pivots, input)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        dlu, _, db = LUSolve.backward(cache, dy)
        return db, dlu
