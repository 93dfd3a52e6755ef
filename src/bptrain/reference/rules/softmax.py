"""Softmax, softmin and the logarithm of softmax along one axis.

    softmax(x)_i = exp(x_i) / sum_k exp(x_k)

The maximum is subtracted first: it cancels in the quotient and keeps exp from overflowing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


def softmax(x: Tensor, dim: int) -> Tensor:
    """exp(x_i) / sum_k exp(x_k) along `dim`."""
    e = torch.exp(x - x.amax(dim, keepdim=True))
    return e / e.sum(dim, keepdim=True)


def log_softmax(x: Tensor, dim: int) -> Tensor:
    """x_i - log sum_k exp(x_k) along `dim`."""
    shifted = x - x.amax(dim, keepdim=True)
    return shifted - torch.log(torch.exp(shifted).sum(dim, keepdim=True))


def softmax_gradient(y: Tensor, dy: Tensor, dim: int) -> Tensor:
    """dx of y = softmax(x): dy_k/dx_i = y_k ([i = k] - y_i), so dx_i = y_i (dy_i - sum_k dy_k y_k)."""
    return y * (dy - (dy * y).sum(dim, keepdim=True))


def _axis(x: Tensor, dim: int | None) -> int:
    """The axis that torch picks when none is given (deprecated): 0 for 0, 1 or 3 axes, else 1."""
    if dim is not None:
        return dim
    return 0 if x.dim() in (0, 1, 3) else 1


def _cases() -> Iterable[Case]:
    yield case("last", torch.randn(3, 5), -1)
    yield case("channels, four axes", torch.randn(2, 3, 1, 4), dim=-3)
    yield case("channels, three axes", torch.randn(3, 2, 4), dim=-3)
    yield case("large", torch.tensor([800.0, 799.0, -800.0]), 0)
    yield case("dtype", torch.randn(3, 2), dim=0, dtype=torch.float64)


class Softmax(Rule, functions=[F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax], cancels=True):
    """y_i = exp(x_i) / sum_k exp(x_k) along `dim`, x and y (*).

    Derivation. See `softmax_gradient`.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield from _cases()
        yield case("masked", torch.tensor([[0.3, -torch.inf, 0.1], [-torch.inf, 2.0, -torch.inf]]), 1, smooth=False)

    @staticmethod
    def forward(
        input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Any]:
        axis = _axis(input, dim)
        y = softmax(input, axis)
        return y, (y, axis)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        y, axis = cache
        return softmax_gradient(y, dy, axis)


class Softmin(Rule, functions=[F.softmin], cancels=True):
    """y = softmax(-x) along `dim`.

    Derivation. Chain rule: dx is the negative of the gradient of softmax at -x.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    @staticmethod
    def forward(
        input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Any]:
        return Softmax.forward(-input, dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return -Softmax.backward(cache, dy)


class LogSoftmax(
    Rule, functions=[F.log_softmax, torch.log_softmax, Tensor.log_softmax, torch.special.log_softmax], cancels=True
):
    """y_i = x_i - log sum_k exp(x_k) along `dim`, x and y (*).

    Derivation. dy_k/dx_i = [i = k] - softmax(x)_i, so dx_i = dy_i - exp(y_i) sum_k dy_k.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    @staticmethod
    def forward(
        input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Any]:
        axis = _axis(input, dim)
        y = log_softmax(input, axis)
        return y, (y, axis)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        y, axis = cache
        return dy - torch.exp(y) * dy.sum(axis, keepdim=True)
