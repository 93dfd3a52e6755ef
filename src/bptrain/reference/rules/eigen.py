"""Eigenvalues and eigenvectors of Hermitian matrices: A V = V diag(w), with w in ascending order and V unitary.

A + c I with a large enough c is positive definite; with its Cholesky factor L and one-sided Jacobi rotations, see
`jacobi.py`, L J has orthogonal columns, and (L J)(L J)^H = A + c I shows that they are eigenvectors, their squared
lengths w + c (Veselic and Hari 1989). Each vector is fixed but for its sign or phase, which is read from torch's own
result.

Derivation. With C = V^H dA V and the skew-Hermitian P = V^H dV of a small change, dA V + A dV = dV diag(w) + V dw gives
C = P diag(w) - diag(w) P + dw, so that dw_i = C_ii and P_ij = F_ij C_ij with F_ij = 1 / (w_j - w_i). With G and H the
gradients of w and V (Giles 2008; among Hermitian matrices, see `hermitian.py`)
    dA = V (diag(G) + F * (V^H H - H^H V) / 2) V^H
Equal values have no vectors of their own: what comes back to these is not told. As for their own gradients, torch's
vectors count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.cholesky import cholesky, positive
from bptrain.reference.rules.degeneracy import aligned, asked, differences, divided, equal, resolution, ties
from bptrain.reference.rules.hermitian import from_triangle, one_triangle
from bptrain.reference.rules.jacobi import by_column, lengths, orthogonalized


def decomposed(a: Tensor) -> tuple[Tensor, Tensor]:
    """w (..., N) and V (..., N, N) of a Hermitian A."""
    n = a.shape[-1]
    shift = 2 * a.abs().sum(-1).amax(-1)[..., None]  # (..., 1), twice a bound of all |w|
    shift = torch.where(shift == 0, 1, shift)
    identity = torch.eye(n, dtype=a.dtype, device=a.device)
    x = orthogonalized(cholesky(a + shift[..., None] * identity), n)
    length, order = lengths(x).sort(dim=-1, stable=True)
    return length * length - shift, by_column(x, order) / length[..., None, :]


class Eigh(Rule, functions=[torch.linalg.eigh], random=True, complex=True):
    """w and V of A, whose lower or upper triangle is read."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("lower", positive(3, 3), smooth=False)
        yield case("upper", positive(2, 1, 3, 3), "U", smooth=False)

    @staticmethod
    def contract(input: Tensor, *args: Any, **kwargs: Any) -> str:
        return one_triangle(input)

    @staticmethod
    def kinks(input: Tensor, UPLO: str = "L", *args: Any, **kwargs: Any) -> int:
        return int((ties(torch.linalg.eigvalsh(input, UPLO)) > 0).sum())

    @staticmethod
    def forward(input: Tensor, UPLO: str = "L", *, again: Callable) -> tuple[tuple[Tensor, Tensor], Any]:
        w, v = decomposed(from_triangle(input, UPLO.upper() == "U"))
        read_w, read_v = again(input, UPLO)
        v = aligned(v, w, read_v)
        return (w, v), (w, v, equal(w, read_w))

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> Tensor:
        w, v, same = cache
        dw, dv = dy
        turn = v.mH @ dv  # (..., N, N)
        turn = divided(turn - turn.mH, differences(w), same & asked(dv), resolution(w)[..., None]) / 2
        diagonal = torch.eye(w.shape[-1], dtype=torch.bool, device=w.device)
        return v @ torch.where(diagonal, dw[..., None, :], turn) @ v.mH


class EigvalsH(Rule, functions=[torch.linalg.eigvalsh], random=True, complex=True):
    """w alone."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("lower", positive(2, 3, 3), smooth=False)
        yield case("upper", positive(3, 3, dtype=torch.complex64), UPLO="U", smooth=False)

    contract = staticmethod(Eigh.contract)
    kinks = staticmethod(Eigh.kinks)

    @staticmethod
    def forward(input: Tensor, UPLO: str = "L", *, again: Callable) -> tuple[Tensor, Any]:
        w, v = decomposed(from_triangle(input, UPLO.upper() == "U"))
        return w, aligned(v, w, again(input, UPLO, function=torch.linalg.eigh)[1])

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return (cache * dy[..., None, :]) @ cache.mH
