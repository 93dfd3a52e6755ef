"""Copies of a tensor: each x_i becomes several y_j, so dx_i is the sum of their dy_j."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.indexing import Picked, pick
from bptrain.reference.rules.reshape import sizes


class Expand(Rule, functions=[Tensor.expand, torch.broadcast_to, Tensor.broadcast_to, torch.expand_copy], complex=True):
    """y = x broadcast to a shape, in which -1 keeps the size of x. Derivation. dx is the sum over the copies."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("sizes as one", torch.randn(2, 1, 3), (4, 2, 5, 3))
        yield case("sizes", torch.randn(2, 1), 2, 3, function=Tensor.expand)
        yield case("kept", torch.randn(2, 1), -1, 3, function=Tensor.expand)
        yield case("size by name", torch.randn(2, 1), size=(3, 2, 2), function=torch.broadcast_to)

    @staticmethod
    def forward(input: Tensor, *shape: Any, size: Sequence[int] | None = None) -> tuple[Tensor, Any]:
        return input.expand(sizes(shape) if size is None else tuple(size)), input.shape

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return sum_to(dy, cache)


class ExpandAs(Rule, functions=[Tensor.expand_as]):
    """y = x broadcast to the shape of another tensor. Derivation. As for expand; the other is a constant here."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("other", torch.randn(2, 1), torch.randn(4, 2, 3))

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        return Expand.forward(input, other.shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return Expand.backward(cache, dy)


class Repeat(Picked, functions=[Tensor.repeat, torch.tile, Tensor.tile]):
    """y = x laid side by side along each axis, as often as the number for that axis says."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("numbers as one", torch.randn(2, 3), (3, 1, 2))
        yield case("numbers", torch.randn(2, 3), 2, 1, function=Tensor.repeat)
        yield case("fewer numbers than axes", torch.randn(2, 3), (2,), function=torch.tile)
        yield case("by name", torch.randn(2, 3), dims=(2, 1), function=torch.tile)

    @staticmethod
    def forward(input: Tensor, *numbers: Any, dims: Sequence[int] | None = None) -> tuple[Tensor, Any]:
        times = sizes(numbers) if dims is None else tuple(dims)
        times = (1,) * (input.dim() - len(times)) + times
        return pick(input, lambda places: places.repeat(times))


class RepeatInterleave(Picked, functions=[torch.repeat_interleave, Tensor.repeat_interleave]):
    """y = each slice of x along `dim` repeated in its place, all equally often or each its own number of times."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("equally often", torch.randn(2, 3), 2, 1)
        yield case("one row", torch.randn(2, 3), 3)
        yield case("own numbers", torch.randn(3, 2), torch.tensor([2, 0, 1]), dim=0)

    @staticmethod
    def forward(
        input: Tensor, repeats: int | Tensor, dim: int | None = None, *, output_size: int | None = None
    ) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.repeat_interleave(repeats, dim))
