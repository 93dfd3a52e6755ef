"""Products of Householder reflections H = I - t v v^H, and the QR factorization A = Q R that they make.

With v = x + e^{i arg x_1} |x| e_1 and t = 2 / |v|^2, H x is a multiple of e_1. Done column by column, each on the rows
from the diagonal on, this makes A upper triangular: H_K ... H_1 A = R, Q = H_1 ... H_K. With the v as columns of V and
an upper triangular T, H_1 ... H_i = I - V T V^H; one more v adds the column -t T V^H v to T, and t below. The signs (of
complex matrices, the phases) of Q's columns and R's rows are free; they are read from torch's own result, as is all of
Q where A has lost rank.
Source: Golub and Van Loan, Matrix Computations (2013), 5.1 and 5.2; Schreiber and Van Loan (1989).

Derivation of QR, for A with no more columns than rows. A small change makes C = Q^H dA R^{-1} = P + dR R^{-1}, with P =
Q^H dQ skew-Hermitian and dR R^{-1} upper triangular with a real diagonal. So P is the strict lower triangle of C minus
its adjoint, with i Im C_kk on the diagonal, and dQ = Q P + (I - Q Q^H) dA R^{-1}. With G and H the gradients of Q and R
    dA = (G - Q S) R^{-H},   S the Hermitian matrix with the upper triangle of Q^H G - H R^H
A wide A = [A1 A2] has R = [R1 R2] with R2 = Q^H A2: A2 gets Q H2, and G the summand A2 H2^H.
Source: Walter and Lehmann, Algorithmic differentiation of linear algebra functions (2010); Roberts and Roberts (2020).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.degeneracy import deficient, exact, quotient, told
from bptrain.reference.rules.hermitian import from_triangle
from bptrain.reference.rules.jacobi import lengths
from bptrain.reference.rules.triangular import substituted_right


def reflected(y: Tensor, v: Tensor, t: Tensor | float) -> Tensor:
    """H Y; Y (..., M, N), v (..., M, 1), t (..., 1, 1)."""
    return y - v @ (t * (v.mH @ y))


def triangularized(a: Tensor) -> tuple[Tensor, Tensor]:
    """Q (..., M, K) and R (..., K, N)."""
    m, n = a.shape[-2:]
    k = min(m, n)
    r, vectors = a.clone(), torch.zeros_like(a[..., :k])  # (..., M, N), (..., M, K)
    t = a.new_zeros(*a.shape[:-2], k, k)
    for i in range(k):
        known, x = vectors[..., :i], r[..., i : i + 1]
        x = x - known @ (t[..., :i, :i].mH @ (known.mH @ x))  # (..., M, 1)
        v = torch.cat([torch.zeros_like(x[..., :i, :]), x[..., i:, :]], -2)
        first, length = v[..., i : i + 1, :].clone(), lengths(v)[..., None]
        v[..., i : i + 1, :] += torch.where(first == 0, 1, first / first.abs()) * length
        v = quotient(v, lengths(v)[..., None])
        t[..., :i, i : i + 1] = -2 * t[..., :i, :i] @ (known.mH @ v)
        t[..., i, i] = 2
        vectors[..., i : i + 1] = v
        r[..., i : i + 1] = reflected(x, v, 2.0)
    r[..., k:] -= vectors @ (t.mH @ (vectors.mH @ r[..., k:]))
    q = torch.eye(m, k, dtype=a.dtype, device=a.device) - vectors @ (t @ vectors[..., :k, :].mH)
    return q, r[..., :k, :].triu()


class QR(Rule, functions=[torch.linalg.qr, torch.qr, Tensor.qr], random=True, complex=True):
    """Q and R; where torch has a gradient, 'complete' ones are the same."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("square", torch.randn(3, 3))
        yield case("tall", torch.randn(2, 4, 3))
        yield case("wide", torch.randn(2, 1, 3, 5), "complete")
        yield case("complex", torch.randn(4, 3, dtype=torch.complex64))
        yield case("some", torch.randn(3, 2), some=True, function=torch.qr)

    @staticmethod
    def arranged(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        names = {"some": "mode", "input": "A"}
        return args, {names.get(name, name): value for name, value in kwargs.items()}

    @staticmethod
    def kinks(A: Tensor, **options: Any) -> int:
        return int(deficient(torch.linalg.qr(A)[1]).sum())

    @staticmethod
    def forward(A: Tensor, mode: str | bool | None = None, *, again: Callable) -> tuple[tuple[Tensor, Tensor], Any]:
        if mode == "r" or (mode in ("complete", False) and A.shape[-2] > A.shape[-1]):
            raise TypeError(f"torch has no gradient for mode {mode!r} of a matrix of shape {tuple(A.shape)}")
        q, r = triangularized(A)
        read_q, read_r = again(A, *([] if mode is None else [mode]))
        phase = (q.conj() * read_q).sum(-2)  # (..., K)
        phase = torch.where(phase == 0, 1, phase / phase.abs())
        q, r = q * phase[..., None, :], r * phase.conj()[..., :, None]
        lost = deficient(r, read_r)
        if exact(r):
            q = torch.where(lost, read_q, q)
            r = torch.where(lost, (q.mH @ A).triu(), r)
        return (q, r), (A, q, r, lost)

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> Tensor:
        a, q, r, lost = cache
        dq, dr = dy
        k = q.shape[-1]
        if r.shape[-1] > k:
            dq = dq + a[..., k:] @ dr[..., k:].mH
        turn = from_triangle(q.mH @ dq - dr[..., :k] @ r[..., :k].mH, upper=True)
        da = substituted_right(r[..., :k].mH, dq - q @ turn)
        return told(torch.cat([da, q @ dr[..., k:]], -1), lost)


class HouseholderProduct(Rule, functions=[torch.linalg.householder_product, torch.orgqr, Tensor.orgqr], complex=True):
    """The first N columns of H_1 ... H_K, with K factors t, and v_i the column i of A from the diagonal on, made 1.

    Derivation. Y_i = H_i Y_{i+1} from Y_{K+1} = I on. With G the gradient of Y_i, that of Y_{i+1} is H_i^H G, and dY_i
    = -(dt v v^H + t dv v^H + t v dv^H) Y_{i+1} gives
        dt_i = -v^H G Y^H v,   dv_i = -conj(t) G Y^H v - t Y G^H v
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("square", torch.randn(3, 3), torch.randn(3))
        yield case("tall, fewer factors", torch.randn(2, 4, 3), torch.randn(2, 2))
        yield case("complex", torch.randn(4, 3, dtype=torch.complex64), torch.randn(3, dtype=torch.complex64))

    @staticmethod
    def arranged(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return args, {"tau" if name == "input2" else name: value for name, value in kwargs.items()}

    @staticmethod
    def forward(input: Tensor, tau: Tensor) -> tuple[Tensor, Any]:
        ones = torch.eye(*input.shape[-2:], dtype=input.dtype, device=input.device)
        vectors = input.tril(-1) + ones  # (..., M, N)
        y, steps = ones.expand(input.shape), []
        for i in reversed(range(tau.shape[-1])):
            v, t = vectors[..., i : i + 1], tau[..., i, None, None]
            steps.append((y, v, t))
            y = reflected(y, v, t)
        return y, (input, steps[::-1])

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        input, steps = cache
        dvectors, dtau = torch.zeros_like(input), []
        for i, (y, v, t) in enumerate(steps):
            forth, back = dy @ (y.mH @ v), y @ (dy.mH @ v)  # (..., M, 1)
            dtau.append(-(v.mH @ forth)[..., 0, 0])
            dvectors[..., i : i + 1] = -t.conj() * forth - t * back
            dy = reflected(dy, v, t.conj())
        return dvectors.tril(-1), torch.stack(dtau, -1)
