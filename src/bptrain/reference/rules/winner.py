"""torch.max and torch.min, which are three functions each: of all elements, along an axis, of two tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.extremum import AMax, AMin, Maximum, Minimum
from bptrain.reference.rules.reduction import drop_axes, keep_axes


class Max(Rule, functions=[torch.max, Tensor.max]):
    """max(x): as amax. max(x, dim): the largest along an axis and its index. max(x, other): as maximum.

    Derivation. The largest one gets dy, the others 0. Conventions at ties: dy / m for each of m
    elements without `dim`; all of dy for the winner, the first one, with `dim`; half each for two tensors.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        ties = torch.tensor([[1.0, 3.0, 3.0], [2.0, 0.0, 3.0]])
        yield case("all, tie", ties, smooth=False)
        yield case("axis, tie", ties, 1, smooth=False)
        yield case("axis", torch.randn(2, 3), dim=-2, keepdim=True)
        yield case("scalar", torch.randn(()), 0)
        yield case("two tensors, ties", ties, torch.tensor([1.5, 3.0, 2.0]), smooth=False)
        yield case("two tensors by name", torch.randn(2, 3), other=torch.randn(2, 1))

    @staticmethod
    def kinks(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> int:
        two = dim if isinstance(dim, Tensor) else other
        return AMax.kinks(input, () if dim is None else dim) if two is None else Maximum.kinks(input, two)

    @staticmethod
    def forward(
        input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None
    ) -> tuple[Any, Any]:
        two = dim if isinstance(dim, Tensor) else other
        if two is not None:
            y, cache = Maximum.forward(input, two)
            return y, ("two tensors", other is None, cache)
        if dim is None:
            y, cache = AMax.forward(input)
            return y, ("all", None, cache)
        index = input.argmax(dim, keepdim=True)  # (..., 1, ...)
        y = input.gather(dim, index)
        return (drop_axes(y, dim, keepdim), drop_axes(index, dim, keepdim)), ("axis", dim, (input, index))

    @staticmethod
    def backward(cache: Any, dy: Any) -> tuple[Tensor | None, ...]:
        kind, how, cache = cache
        if kind == "two tensors":
            dinput, dother = Maximum.backward(cache, dy)
            return (dinput, dother) if how else (dinput, None, None, dother)
        if kind == "all":
            return (AMax.backward(cache, dy),)
        input, index = cache
        return (torch.zeros_like(input).scatter(how, index, keep_axes(dy[0], input, how)),)


class Min(Rule, functions=[torch.min, Tensor.min]):
    """The three functions of `Max`, for the smallest: -max(-x), with the same conventions at ties."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return Max.cases()

    @staticmethod
    def kinks(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> int:
        two = dim if isinstance(dim, Tensor) else other
        return AMin.kinks(input, () if dim is None else dim) if two is None else Minimum.kinks(input, two)

    @staticmethod
    def forward(
        input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None
    ) -> tuple[Any, Any]:
        negated = [-t if isinstance(t, Tensor) else t for t in (dim, other)]
        y, cache = Max.forward(-input, negated[0], keepdim, other=negated[1])
        return ((-y[0], y[1]) if isinstance(y, tuple) else -y), cache

    @staticmethod
    def backward(cache: Any, dy: Any) -> tuple[Tensor | None, ...]:
        return Max.backward(cache, dy)
