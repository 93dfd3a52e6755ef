"""Cholesky factorization A = L L^H of a Hermitian positive definite matrix, and what is solved with its factor.

Column by column, since a_ik = sum_{j<=k} l_ij conj(l_kj): l_ik l_kk = a_ik - sum_{j<k} l_ij conj(l_kj), with l_kk > 0.

Derivation. A small change of A makes L^{-1} dA L^{-H} = L^{-1} dL + (L^{-1} dL)^H. As L^{-1} dL is lower triangular
with a real diagonal, it is P = the lower triangle of the left side with half the diagonal. With G the gradient of L,
    <G, L P(L^{-1} dA L^{-H})> = <L^{-H} P(L^H G) L^{-1}, dA>
of which the Hermitian part is the gradient of A; torch leaves in it the imaginary part of the diagonal of L^H G, which
no Hermitian change of A meets. Source: Murray, Differentiation of the Cholesky decomposition (2016);
Giles (2008).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.complex_number import real
from bptrain.reference.rules.degeneracy import exact
from bptrain.reference.rules.hermitian import from_triangle, one_triangle
from bptrain.reference.rules.triangular import substituted, substituted_right


def cholesky(a: Tensor) -> Tensor:
    """The lower L (..., N, N); NaN from some column on where A is not positive definite.

    In float32, where A may be so for rounding, no pivot is smaller than rounding could leave it: see `degeneracy.py`.
    """
    factor = torch.zeros_like(a)
    least = torch.finfo(a.dtype).eps * real(a.diagonal(0, -2, -1)).amax(-1)[..., None, None]  # (..., 1, 1)
    for k in range(a.shape[-1]):
        known = factor[..., k:, :k] @ factor[..., k : k + 1, :k].mH  # (..., N - k, 1)
        column = a[..., k:, k : k + 1] - known
        pivot = real(column[..., :1, :])
        pivot = pivot if exact(a) else torch.maximum(pivot, least)
        factor[..., k : k + 1, k : k + 1] = pivot.sqrt()
        factor[..., k + 1 :, k : k + 1] = column[..., 1:, :] / pivot.sqrt()
    return factor


def solved(factor: Tensor, b: Tensor) -> Tensor:
    """X with L L^H X = B."""
    return substituted(factor.mH, substituted(factor, b), upper=True)


def positive(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Samples of Hermitian positive definite matrices."""
    x = torch.randn(*shape, dtype=dtype)
    return x @ x.mH + torch.eye(shape[-1])


class Cholesky(Rule, functions=[torch.linalg.cholesky, torch.cholesky, Tensor.cholesky], complex=True, shifts=True):
    """L, or with `upper` L^H, of A whose triangle of that name is read."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("lower", positive(3, 3), smooth=False)
        yield case("upper", positive(2, 1, 3, 3), upper=True, smooth=False)
        yield case("complex", positive(2, 3, 3, dtype=torch.complex64), smooth=False)

    @staticmethod
    def contract(input: Tensor, *args: Any, **kwargs: Any) -> str:
        return one_triangle(input)

    @staticmethod
    def forward(input: Tensor, upper: bool = False) -> tuple[Tensor, Any]:
        factor = cholesky(from_triangle(input, upper))
        return factor.mH.resolve_conj() if upper else factor, (factor, upper)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        factor, upper = cache
        low = (factor.mH @ (dy.mH if upper else dy)).tril()
        return substituted_right(factor, substituted(factor.mH, (low + low.tril(-1).mH) / 2, upper=True))


class CholeskyEx(Rule, functions=[torch.linalg.cholesky_ex], complex=True, shifts=True):
    """L, or with `upper` L^H, and for each matrix 0, for positive definite."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("lower", positive(3, 3), smooth=False)
        yield case("upper", positive(2, 3, 3), upper=True, check_errors=True, smooth=False)

    contract = staticmethod(Cholesky.contract)

    @staticmethod
    def forward(input: Tensor, *, upper: bool = False, check_errors: bool = False) -> tuple[tuple[Tensor, Tensor], Any]:
        y, cache = Cholesky.forward(input, upper)
        return (y, input.new_zeros(input.shape[:-2], dtype=torch.int32)), cache

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> Tensor:
        return Cholesky.backward(cache, dy[0])


class CholeskySolve(Rule, functions=[torch.cholesky_solve, Tensor.cholesky_solve], complex=True):
    """X with A X = B and A = L L^H, given B and the factor, with `upper` L^H.

    Derivation. With G the gradient of X: dB = A^{-1} G and dA = -dB X^H, see `linear_system.py`. As dA = dL L^H + L
    dL^H for small changes, L has (dA + dA^H) L, in both triangles, though one is read and the other holds zeros.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        z = positive(3, 3, dtype=torch.complex64).tril()
        yield case("lower", torch.randn(3, 2), positive(3, 3).tril(), smooth=False)
        yield case("upper", torch.randn(4, 1, 3, 2), positive(2, 3, 3).triu(), upper=True, smooth=False)
        yield case("complex", torch.randn(2, 3, 1, dtype=torch.complex64), z, smooth=False)

    @staticmethod
    def forward(input: Tensor, input2: Tensor, upper: bool = False) -> tuple[Tensor, Any]:
        factor = input2.triu().mH if upper else input2.tril()
        x = solved(factor, input)
        return x, (input.shape, input2.shape, factor, x, upper)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        shape, factor_shape, factor, x, upper = cache
        db = solved(factor, dy)
        product = -db @ x.mH
        return sum_to(db, shape), sum_to(_of_factor(product, factor, upper), factor_shape)


class CholeskyInverse(Rule, functions=[torch.cholesky_inverse, Tensor.cholesky_inverse], complex=True):
    """Y = A^{-1} with A = L L^H, given the factor. Derivation. dA = -Y dY Y, and L has (dA + dA^H) L as above."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("lower", positive(3, 3).tril(), smooth=False)
        yield case("upper", positive(2, 3, 3).triu(), upper=True, smooth=False)

    @staticmethod
    def forward(input: Tensor, upper: bool = False) -> tuple[Tensor, Any]:
        factor = input.triu().mH if upper else input.tril()
        y = solved(factor, torch.eye(input.shape[-1], dtype=input.dtype, device=input.device))
        return y, (factor, y, upper)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        factor, y, upper = cache
        return _of_factor(-y @ dy @ y, factor, upper)


def _of_factor(da: Tensor, factor: Tensor, upper: bool) -> Tensor:
    """The gradient of L, or of L^H, by that of A = L L^H."""
    found = (da + da.mH) @ factor
    return found.mH if upper else found
