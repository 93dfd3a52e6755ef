"""Singular value decomposition A = U S V^H of A (..., M, N), with K = min(M, N) values in descending order.

One-sided Jacobi rotations make A V orthogonal, see `jacobi.py`: its columns are s_k u_k. A wide A is the adjoint of a
tall one. V and U are fixed but for one phase of each pair, which is read from torch's own result; what belongs to the
value 0 is any basis of a null space, and read from there too.

Derivation. With C = U^H dA V, and the skew-Hermitian P = U^H dU and Q = V^H dV of a small change, C = P S + dS - S Q.
The diagonal gives dS = Re C_ii, and C with its adjoint gives off the diagonal
    P = F * (C S + S C^H),   Q = F * (S C + C^H S),   F_ij = 1 / (s_j^2 - s_i^2)
    dU = U P + (I - U U^H) dA V S^{-1},   dV = V Q + (I - V V^H) dA^H U S^{-1}
so that with GU, GS, GV the gradients of U, S, V, and X - X^H written as skew X,
    dA = U ((F * skew(U^H GU)) S + S (F * skew(V^H GV)) + GS) V^H
         + (I - U U^H) GU S^{-1} V^H + U S^{-1} GV^H (I - V V^H)
For complex A the phase of u_k times conj(v_k) is Im C_kk / s_k, which adds i Im(U^H GU)_kk / s_k to GS; it is the
opposite of V's for a loss that does not depend on the phase they share. Equal values have no vectors of their own, nor
has the value 0: what comes back to these is not told. As for the gradients of the values themselves, torch's vectors
count. With `full_matrices` torch ignores what comes back to the vectors beyond K, as these may be any.
Source: Townsend, Differentiating the singular value decomposition (2016); Wan and Zhang (2019) for complex ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.complex_number import compose, imaginary
from bptrain.reference.rules.degeneracy import (
    aligned,
    asked,
    differences,
    divided,
    equal,
    exact,
    quotient,
    resolution,
    ties,
    vanishing,
)
from bptrain.reference.rules.householder import triangularized
from bptrain.reference.rules.jacobi import by_column, lengths, orthogonalized

Decomposition = tuple[Tensor, Tensor, Tensor]


def decomposed(a: Tensor) -> Decomposition:
    """U (..., M, K), S (..., K) and V^H (..., K, N)."""
    m, n = a.shape[-2:]
    if m < n:
        v, s, uh = decomposed(a.mH)
        return uh.mH, s, v.mH
    start = torch.eye(n, dtype=a.dtype, device=a.device).expand(*a.shape[:-2], n, n)
    x = orthogonalized(torch.cat([a, start], -2), m)  # (..., M + N, N)
    s, order = lengths(x[..., :m, :]).sort(dim=-1, descending=True, stable=True)
    x = by_column(x, order)
    u = quotient(x[..., :m, :], s[..., None, :])
    return unitary(u) if (s == 0).sum().item() else u, s, x[..., m:, :].mH


def unitary(u: Tensor) -> Tensor:
    """Orthonormal columns, the last of which may be 0 instead, with others in place of these."""
    q, r = triangularized(u)
    diagonal = r.diagonal(0, -2, -1)
    return q * torch.where(diagonal == 0, 1, diagonal)[..., None, :]


def chosen(vectors: Tensor, s: Tensor, read: Tensor) -> Tensor:
    """The vectors (..., M, K) with torch's phases, and those of the value 0 and beyond K as torch has chosen them."""
    own = aligned(vectors, s, read[..., : s.shape[-1]])
    if exact(s):
        own = torch.where(vanishing(s)[..., None, :], 0, own)
    rest = read - own @ (own.mH @ read)
    own = torch.cat([own, torch.zeros_like(read[..., s.shape[-1] :])], -1)
    return torch.where((own == 0).sum(-2, keepdim=True) == own.shape[-2], rest, own)


def as_called(a: Tensor, again: Callable, full: bool = False) -> tuple[Decomposition, Any]:
    """U, S and V^H with the phases and null spaces of torch's own result, which are square with `full`.

    And what `decomposition_gradient` needs.
    """
    u, s, vh = decomposed(a)
    read_u, read_s, read_vh = again(a, full_matrices=full, function=torch.linalg.svd)
    u, vh = chosen(u, s, read_u), chosen(vh.mH, s, read_vh.mH).mH.resolve_conj()
    k = s.shape[-1]
    return (u, s, vh), ((u[..., :k], s, vh[..., :k, :]), read_s)


def decomposition_gradient(cache: Any, du: Tensor, ds: Tensor, dvh: Tensor) -> Tensor:
    """dA; what lies beyond the first K columns of GU and rows of GV^H is left out."""
    (u, s, vh), read = cache
    k = s.shape[-1]
    du, dvh, asks = du[..., :k], dvh[..., :k, :], asked(du, dvh)
    rows, columns, least = s[..., :, None], s[..., None, :], resolution(s)[..., None]
    same, zero = equal(s, read) & asks, vanishing(s, read)
    diagonal = torch.eye(k, dtype=torch.bool, device=s.device)
    in_u, in_v = u.mH @ du, vh @ dvh.mH  # (..., K, K)
    turns = (divided(x - x.mH, differences(s), same, least) for x in (in_u, in_v))
    turn_u, turn_v = (torch.where(diagonal, 0, quotient(turn, columns + rows)) for turn in turns)
    if u.is_complex():
        ds = compose(ds, quotient(imaginary(in_u.diagonal(0, -2, -1)), s))
    middle = torch.where(diagonal, ds[..., None, :], turn_u * columns + rows * turn_v)
    right = middle @ vh
    if vh.shape[-1] > k:
        right = right + divided(dvh - in_v.mH @ vh, rows, zero[..., :, None] & asks, least)
    da = u @ right
    if u.shape[-2] > k:
        da = da + divided(du - u @ in_u, columns, zero[..., None, :] & asks, least) @ vh
    return da


def values_gradient(of: Decomposition, ds: Tensor) -> Tensor:
    """dA = U GS V^H."""
    u, _, vh = of
    return u @ (ds[..., :, None] * vh)


def singular_kinks(a: Tensor) -> int:
    """How many singular values are 0 or equal to another one."""
    s = torch.linalg.svdvals(a)
    return int(((ties(s) > 0) | vanishing(s)).sum())


class SVD(Rule, functions=[torch.linalg.svd], random=True, complex=True):
    """U, S and V^H, with square U and V^H unless `full_matrices` is False."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("square", torch.randn(3, 3))
        yield case("tall", torch.randn(2, 4, 3), False)
        yield case("wide", torch.randn(2, 1, 2, 4), full_matrices=False)
        yield case("full", torch.randn(4, 2), smooth=False)

    @staticmethod
    def kinks(A: Tensor, **options: Any) -> int:
        return singular_kinks(A)

    @staticmethod
    def forward(
        A: Tensor, full_matrices: bool = True, *, driver: str | None = None, again: Callable
    ) -> tuple[Decomposition, Any]:
        return as_called(A, again, full_matrices)

    @staticmethod
    def backward(cache: Any, dy: Decomposition) -> Tensor:
        return decomposition_gradient(cache, *dy)


class OldSVD(Rule, functions=[torch.svd, Tensor.svd], random=True, complex=True):
    """U, S and V, reduced unless `some` is False; without `compute_uv` zeros stand for U and V."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("square", torch.randn(3, 3))
        yield case("tall", torch.randn(2, 4, 3))
        yield case("full", torch.randn(2, 3), some=False, smooth=False)
        yield case("values", torch.randn(3, 2), compute_uv=False)

    @staticmethod
    def kinks(input: Tensor, **options: Any) -> int:
        return singular_kinks(input)

    @staticmethod
    def forward(
        input: Tensor, some: bool = True, compute_uv: bool = True, *, again: Callable
    ) -> tuple[Decomposition, Any]:
        (u, s, vh), cache = as_called(input, again, not some)
        v = vh.mH.resolve_conj()
        if not compute_uv:
            m, n = input.shape[-2:]
            u, v = input.new_zeros(*input.shape[:-2], m, m), input.new_zeros(*input.shape[:-2], n, n)
        return (u, s, v), (cache, compute_uv)

    @staticmethod
    def backward(cache: Any, dy: Decomposition) -> Tensor:
        cache, compute_uv = cache
        du, ds, dv = dy
        return decomposition_gradient(cache, du, ds, dv.mH) if compute_uv else values_gradient(cache[0], ds)


class SVDVals(Rule, functions=[torch.linalg.svdvals], random=True, complex=True):
    """S alone."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("tall", torch.randn(4, 3))
        yield case("wide", torch.randn(2, 1, 2, 4))
        yield case("complex", torch.randn(3, 3, dtype=torch.complex64))

    kinks = staticmethod(SVD.kinks)

    @staticmethod
    def forward(A: Tensor, *, driver: str | None = None, again: Callable) -> tuple[Tensor, Any]:
        (_, s, _), (of, _) = as_called(A, again)
        return s, of

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return values_gradient(cache, dy)
