"""A tensor taken apart as split does, under torch's and NumPy's other names: dx is the pieces of dy joined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.join import Split

Pieces = tuple[Tensor, ...]


class Parted(Rule):
    """The rules whose forward is split into pieces along an axis."""

    @staticmethod
    def backward(cache: Any, dy: Pieces) -> Tensor:
        return Split.backward(cache, dy)


WITH_SIZES = [
    *[torch.split_with_sizes, Tensor.split_with_sizes, torch.unsafe_split_with_sizes],
    *[Tensor.unsafe_split_with_sizes, torch.split_with_sizes_copy],
]


class SplitWithSizes(Parted, functions=WITH_SIZES):
    """y = pieces of x of the sizes in a list."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("sizes", torch.randn(2, 6), [1, 3, 2], -1)

    @staticmethod
    def forward(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Pieces, Any]:
        return Split.forward(input, list(split_sizes), dim)


def parts(x: Tensor, where: Any, dim: int) -> tuple[Pieces, Any]:
    """`where` pieces of nearly one length, the first ones longer by one; or those between the indices in `where`."""
    if isinstance(where, Tensor):
        where = where.tolist()
    n = x.shape[dim]
    if isinstance(where, int):
        return Split.forward(x, [n // where + (i < n % where) for i in range(where)], dim)
    starts, ends = [0, *where], [*where, n]
    cuts = [range(n)[slice(start, end)] for start, end in zip(starts, ends, strict=True)]
    if sum(map(len, cuts)) != n or any(a.stop != b.start for a, b in pairwise(cuts)):
        raise TypeError("the pieces overlap or leave something out")
    return Split.forward(x, [len(cut) for cut in cuts], dim)


class TensorSplit(Parted, functions=[torch.tensor_split, Tensor.tensor_split]):
    """y = pieces of x along the axis `dim`: so many of them, or those between indices."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("number", torch.randn(5, 2), 3)
        yield case("indices", torch.randn(2, 6), (1, 4), -1)
        yield case("tensor", torch.randn(2, 6), torch.tensor([2]), dim=1)

    @staticmethod
    def forward(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Pieces, Any]:
        return parts(input, indices_or_sections, dim)


class HSplit(Parted, functions=[torch.hsplit, Tensor.hsplit]):
    """y = pieces of x along the second axis; of a vector along its only one."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(2, 6), 3)
        yield case("vector", torch.randn(5), [1, 2])

    @staticmethod
    def forward(input: Tensor, where: Any) -> tuple[Pieces, Any]:
        return parts(input, where, 0 if input.dim() == 1 else 1)


class VSplit(Parted, functions=[torch.vsplit, Tensor.vsplit]):
    """y = pieces of x along the first axis."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(6, 2), 3)

    @staticmethod
    def forward(input: Tensor, where: Any) -> tuple[Pieces, Any]:
        return parts(input, where, 0)


class DSplit(Parted, functions=[torch.dsplit, Tensor.dsplit]):
    """y = pieces of x along the third axis."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("volume", torch.randn(1, 2, 6), [2])

    @staticmethod
    def forward(input: Tensor, where: Any) -> tuple[Pieces, Any]:
        return parts(input, where, 2)
