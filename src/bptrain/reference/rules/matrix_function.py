"""Functions of a square matrix: its whole powers and its exponential."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.linear_system import inverse, inverse_gradient

TERMS = 18  # of the exponential series: with a norm of 1/2 the next one is below 2^-19 / 19! = 2e-23


def exponential(a: Tensor) -> Tensor:
    """exp(A) = exp(A / 2^s)^(2^s), with s such that the series of A / 2^s converges at once.

    Source: Higham, Functions of Matrices (2008), 10.3, with the Taylor polynomial.
    """
    size = a.abs().sum(-2).max().item()  # the largest 1-norm
    halvings = max(0, math.ceil(math.log2(size)) + 1) if 0 < size < math.inf else 0
    a = a * 0.5**halvings
    identity = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    y = identity.expand(a.shape)
    for k in range(TERMS, 0, -1):  # I + A (I + A / 2 (I + A / 3 (...)))
        y = identity + a @ y / k
    for _ in range(halvings):
        y = y @ y
    return y


class MatrixExp(Rule, functions=[torch.linalg.matrix_exp, torch.matrix_exp, Tensor.matrix_exp], complex=True):
    """Y = exp(A).

    Derivation. dY = the integral of exp(A (1 - t)) dA exp(A t) over t from 0 to 1, so dA is the same with A^H for A and
    G for dA. That is the upper right block of the exponential of [[A^H, G], [0, A^H]] (Van Loan 1978).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(3, 3))
        yield case("batch", 4 * torch.randn(2, 1, 3, 3))
        yield case("complex", torch.randn(3, 3, dtype=torch.complex64))
        yield case("zero", torch.zeros(2, 2))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return exponential(input), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        a, n = cache.mH, cache.shape[-1]
        size = dy.abs().amax((-2, -1), keepdim=True)  # what is linear is scaled, so that the norm is that of A
        size = torch.where(size == 0, 1, size / n)
        top, bottom = torch.cat([a, dy / size], -1), torch.cat([torch.zeros_like(a), a], -1)  # (..., N, 2 N)
        return exponential(torch.cat([top, bottom], -2))[..., :n, n:] * size


class MatrixPower(Rule, functions=[torch.linalg.matrix_power, torch.matrix_power, Tensor.matrix_power], complex=True):
    """Y = A^n, with A^{-1} for a negative n; the squares A^2, A^4, ... are multiplied that n is the sum of.

    Derivation. Backwards through these products: C = A B gives dA = dC B^H and dB = A^H dC.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        for n in (3, 0, 1, 6, -2):
            yield case(str(n), torch.randn(2, 3, 3), n)
        yield case("complex", torch.randn(3, 3, dtype=torch.complex64), -3)

    @staticmethod
    def forward(input: Tensor, n: int) -> tuple[Tensor, Any]:
        square = inverse(input) if n < 0 else input
        y = torch.eye(input.shape[-1], dtype=input.dtype, device=input.device).expand(input.shape)
        steps = []  # Y before, the square, and whether it is multiplied to Y
        for digit in reversed(f"{abs(n):b}"):
            steps.append((y, square, digit == "1"))
            y = y @ square if digit == "1" else y
            square = square @ square
        return y.clone(), (input, n, steps)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        input, n, steps = cache
        dsquare = torch.zeros_like(input)
        for y, square, multiplied in reversed(steps):
            dsquare = dsquare @ square.mH + square.mH @ dsquare
            if multiplied:
                dsquare, dy = dsquare + y.mH @ dy, dy @ square.mH
        return inverse_gradient(steps[0][1], dsquare) if n < 0 else dsquare
