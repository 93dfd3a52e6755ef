"""Determinants, by the LU factorization A = P L U: det A = det P times the product of the diagonal of U.

Derivation. d det A = det A tr(A^{-1} dA) for small changes (Jacobi's formula), so that, with G the gradient of the
determinant, dA = G conj(det A) A^{-H}: G times the cofactors (Giles 2008). These are there for a singular A too.
With the singular value decomposition A = U S V^H they are conj(det U det V^H) U C V^H, with C diagonal and c_i = the
product of all s_k but s_i. torch (2.13) gives 0 for a singular A, which is wrong where its rank is N - 1.
    log |det A| and the sign e^{it} = det A / |det A|:  d log |det A| + i dt = tr(A^{-1} dA)
so that with the gradients G of the logarithm and H of the sign dA = (G + i Im(H e^{-it})) A^{-H}; a real sign is
constant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.complex_number import compose, imaginary, real
from bptrain.reference.rules.degeneracy import quotient
from bptrain.reference.rules.lu import Factors, eliminated, solved, unpacked
from bptrain.reference.rules.reduction import Prod
from bptrain.reference.rules.singular_value import decomposed


def _factored(a: Tensor) -> tuple[Factors, Tensor, Tensor]:
    """P, L and U of A, the diagonal of U (..., N) and the determinant of P, by the pairs that stand in wrong order."""
    lu, order = eliminated(a)
    inversions = (order[..., :, None] > order[..., None, :]).triu().sum((-2, -1))
    return unpacked(lu, order), lu.diagonal(0, -2, -1), 1 - 2 * (inversions % 2)


def _inverse(factors: Factors) -> Tensor:
    return solved(factors, torch.eye(factors.upper.shape[-1], dtype=factors.upper.dtype, device=factors.upper.device))


def cofactors(a: Tensor) -> Tensor:
    """conj(det A) A^{-H}, of any A."""
    u, s, vh = decomposed(a)
    _, cache = Prod.forward(s, -1)
    others = Prod.backward(cache, torch.ones_like(s[..., 0]))  # (..., N)
    phase = Det.forward(u)[0] * Det.forward(vh)[0]
    return phase.conj()[..., None, None] * (u * others[..., None, :]) @ vh


class Determinant(Rule, complex=True):
    """The rules of one matrix that is called A in torch.linalg and `input` in torch."""

    @staticmethod
    def arranged(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return args, {"A" if name == "input" else name: value for name, value in kwargs.items()}


class Det(Determinant, functions=[torch.linalg.det, torch.det, Tensor.det]):
    """det A."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(3, 3))
        yield case("batch", torch.randn(2, 1, 4, 4))
        yield case("complex", torch.randn(2, 3, 3, dtype=torch.complex64))
        yield case("singular but for rounding", torch.randn(4, 3) @ torch.randn(3, 4))

    @staticmethod
    def forward(A: Tensor) -> tuple[Tensor, Any]:
        factors, diagonal, sign = _factored(A)
        y = sign * diagonal.prod(-1)
        return y, (A, factors, y)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        a, factors, y = cache
        found = y.conj()[..., None, None] * _inverse(factors).mH
        if (y == 0).sum().item():
            found = torch.where(y[..., None, None] == 0, cofactors(a), found)
        return dy[..., None, None] * found


class SlogDet(Determinant, functions=[torch.linalg.slogdet, torch.slogdet, Tensor.slogdet]):
    """det A / |det A| and log |det A|."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(3, 3))
        yield case("batch", torch.randn(2, 1, 4, 4))
        yield case("complex", torch.randn(2, 3, 3, dtype=torch.complex64))

    @staticmethod
    def forward(A: Tensor) -> tuple[tuple[Tensor, Tensor], Any]:
        factors, diagonal, sign = _factored(A)
        size = diagonal.abs()
        sign = sign * quotient(diagonal, size).prod(-1)
        return (sign, size.log().sum(-1)), (factors, sign)

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> Tensor:
        factors, sign = cache
        dsign, dlog = dy
        if sign.is_complex():
            dlog = compose(dlog, imaginary(dsign * sign.conj()))
        return dlog[..., None, None] * _inverse(factors).mH


class LogDet(Determinant, functions=[torch.logdet, Tensor.logdet]):
    """log det A, NaN where it is negative."""

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.randn(2, 3, 3)
        yield case("positive", x @ x.mT)
        yield case("complex", torch.randn(3, 3, dtype=torch.complex64))

    @staticmethod
    def forward(A: Tensor) -> tuple[Tensor, Any]:
        (sign, y), (factors, _) = SlogDet.forward(A)
        y = (
            compose(y, torch.atan2(imaginary(sign), real(sign)))
            if A.is_complex()
            else torch.where(sign < 0, torch.nan, y)
        )
        return y, factors

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy[..., None, None] * _inverse(cache).mH
