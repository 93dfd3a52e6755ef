"""Vandermonde matrices: y_ij = x_i^j, for j from 0 to N - 1. Derivation. dx_i = sum_j dy_ij j x_i^(j-1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


class Vander(Rule, functions=[torch.linalg.vander], complex=True):
    """The powers of x (..., M) along a new last axis, M of them unless N is told."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("square", torch.randn(2, 3))
        yield case("zero", torch.tensor([0.0, 0.5]), N=4)
        yield case("complex", torch.randn(3, dtype=torch.complex64), N=2)

    @staticmethod
    def forward(x: Tensor, *, N: int | None = None) -> tuple[Tensor, Any]:
        n = x.shape[-1] if N is None else N
        factors = torch.cat([torch.ones_like(x[..., None]), x[..., None].expand(*x.shape, n - 1)], -1)  # (..., M, N)
        y = factors.cumprod(-1)
        return y, y

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        power = torch.arange(1, dy.shape[-1], device=dy.device)
        return (dy[..., 1:] * power * cache[..., :-1].conj()).sum(-1)
