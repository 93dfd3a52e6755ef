"""Sums, means, products and their kin along one axis, several or all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case

Axes = int | tuple[int, ...] | list[int] | None


def reduced_axes(x: Tensor, dim: Axes) -> tuple[int, ...]:
    """The axes that `dim` names, counted from 0; None and an empty tuple mean all."""
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return tuple(range(x.dim()))
    return tuple(d % x.dim() for d in ([dim] if isinstance(dim, int) else dim)) if x.dim() else ()


def keep_axes(y: Tensor, x: Tensor, dim: Axes) -> Tensor:
    """A reduction of `x`, or its gradient, with the reduced axes back as axes of size 1."""
    axes = reduced_axes(x, dim)
    return y.reshape([1 if i in axes else n for i, n in enumerate(x.shape)])


def drop_axes(y: Tensor, dim: Axes, keepdim: bool) -> Tensor:
    """What a reduction returns, from its result with axes of size 1."""
    return y if keepdim else y.squeeze(reduced_axes(y, dim))


class Sum(Rule, functions=[torch.sum, Tensor.sum], complex=True):
    """y = sum of x along the axes `dim`.

    Derivation. dy/dx_i = 1, so each x_i gets the dy of the sum it is in.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", torch.randn(2, 3))
        yield case("one axis", torch.randn(2, 3, 1), 1)
        yield case("two axes", torch.randn(2, 3, 4), dim=(0, -1))
        yield case("kept", torch.randn(2, 3, 4), [1], keepdim=True)
        yield case("dtype", torch.randn(2, 3), -1, dtype=torch.float64)
        yield case("NumPy's names", torch.randn(2, 3), axis=0, keepdims=True, function=Tensor.sum)
        yield case("scalar", torch.randn(()), 0)

    @staticmethod
    def forward(
        input: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Any]:
        axes = reduced_axes(input, dim)
        return input.sum(axes, keepdim=keepdim), (input, dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        input, dim = cache
        return keep_axes(dy, input, dim).expand(input.shape)


class Mean(Rule, functions=[torch.mean, Tensor.mean], complex=True):
    """y = sum of x along the axes `dim`, divided by the number n of elements summed.

    Derivation. dy/dx_i = 1 / n.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", torch.randn(2, 3))
        yield case("one axis", torch.randn(2, 3, 1), 1)
        yield case("two axes", torch.randn(2, 3, 4), dim=(0, -1), keepdim=True)
        yield case("dtype", torch.randn(2, 3), -1, dtype=torch.float64)

    @staticmethod
    def forward(
        input: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Any]:
        y, _ = Sum.forward(input, dim, keepdim)
        n = input.numel() / max(y.numel(), 1)
        return y / n, (input, dim, n)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        input, dim, n = cache
        return Sum.backward((input, dim), dy / n)


class Prod(Rule, functions=[torch.prod, Tensor.prod]):
    """y = product of x along the axis `dim`, or of all elements.

    Derivation. dy/dx_i = product of all x_k but x_i: the product of those before i times that of those
    after i, which is right where some x_k are 0, as y / x_i is not.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", torch.randn(2, 3))
        yield case("one axis", torch.randn(2, 3, 1), 1)
        yield case("kept", torch.randn(2, 3), dim=-2, keepdim=True)
        yield case("one zero", torch.tensor([[0.5, 0.0, 3.0], [1.0, 2.0, -1.0]]), 1)
        yield case("two zeros", torch.tensor([0.5, 0.0, 3.0, 0.0]))

    @staticmethod
    def forward(
        input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Any]:
        x, axis = (input.reshape(-1), 0) if dim is None else (input, dim)
        one = torch.ones_like(x.narrow(axis, 0, 1))
        before = torch.cat([one, x.narrow(axis, 0, x.shape[axis] - 1)], axis).cumprod(axis)
        after = torch.cat([one, x.flip(axis).narrow(axis, 0, x.shape[axis] - 1)], axis).cumprod(axis).flip(axis)
        y = (before * x).narrow(axis, x.shape[axis] - 1, 1)  # (..., 1, ...)
        return drop_axes(y, axis, keepdim and dim is not None), (input, dim, before * after)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        input, dim, others = cache
        return keep_axes(dy, input, dim) * others.reshape(input.shape)


class Cumsum(Rule, functions=[torch.cumsum, Tensor.cumsum, Tensor.cumsum_]):
    """y_i = x_0 + ... + x_i along the axis `dim`.

    Derivation. x_i is in y_i and all later ones: dx_i = dy_i + dy_{i+1} + ..., a sum from the end.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("first", torch.randn(4, 3), 0)
        yield case("last", torch.randn(2, 3), dim=-1, dtype=torch.float64)

    @staticmethod
    def forward(input: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> tuple[Tensor, Any]:
        return input.cumsum(dim), dim

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy.flip(cache).cumsum(cache).flip(cache)


class LogSumExp(Rule, functions=[torch.logsumexp, Tensor.logsumexp, torch.special.logsumexp]):
    """y = log of the sum of exp(x) along the axes `dim`.

    Derivation. dy/dx_i = exp(x_i) / sum_k exp(x_k) = exp(x_i - y). The largest x is taken out of the
    sum and added after, so that exp can't overflow; an infinite one is left in.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("one axis", torch.randn(2, 3), 1)
        yield case("two axes", torch.randn(2, 3, 4), dim=(0, -1), keepdim=True)
        yield case("large", torch.tensor([800.0, 799.0, -800.0]), 0)
        yield case("masked", torch.tensor([[0.5, -torch.inf], [-torch.inf, 1.0]]), 1, smooth=False)

    @staticmethod
    def forward(input: Tensor, dim: Axes, keepdim: bool = False) -> tuple[Tensor, Any]:
        axes = reduced_axes(input, dim)
        largest = input.amax(axes, keepdim=True)
        largest = torch.where(largest.isinf(), 0, largest)
        y = torch.log(torch.exp(input - largest).sum(axes, keepdim=True)) + largest
        return drop_axes(y, dim, keepdim), (input, dim, torch.exp(input - y))

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        input, dim, share = cache
        return keep_axes(dy, input, dim) * share
