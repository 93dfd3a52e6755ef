"""Tensors joined into one and one taken apart: each y_j is one x_i, so the gradient is taken apart or joined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


class Cat(Rule, functions=[torch.cat, torch.concat, torch.concatenate], complex=True):
    """y = the tensors one after the other along the axis `dim`. Derivation. Each gets its part of dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("first axis", [torch.randn(2, 3), torch.randn(1, 3), torch.randn(4, 3)])
        yield case("last axis", (torch.randn(2, 3), torch.randn(2, 1)), dim=-1)
        yield case("empty", [torch.randn(0), torch.randn(2, 3)], 1)

    @staticmethod
    def forward(tensors: Sequence[Tensor], dim: int = 0) -> tuple[Tensor, Any]:
        return torch.cat(tuple(tensors), dim), (tensors, dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[list[Tensor]]:
        tensors, dim = cache
        # An empty tensor of one axis is skipped by torch, whatever the shape of the others.
        lengths = [t.shape[dim] if t.dim() == dy.dim() else 0 for t in tensors]
        parts = dy.split(lengths, dim)
        return ([part if t.numel() else torch.zeros_like(t) for part, t in zip(parts, tensors, strict=True)],)


class Stack(Rule, functions=[torch.stack], complex=True):
    """y = the tensors side by side along a new axis `dim`. Derivation. Each gets its slice of dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("first axis", [torch.randn(2, 3), torch.randn(2, 3), torch.randn(2, 3)])
        yield case("last axis", (torch.randn(2, 3), torch.randn(2, 3)), dim=-1)

    @staticmethod
    def forward(tensors: Sequence[Tensor], dim: int = 0) -> tuple[Tensor, Any]:
        return torch.cat([t.unsqueeze(dim) for t in tensors], dim), (len(tensors), dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[list[Tensor]]:
        number, dim = cache
        return ([dy.select(dim, i) for i in range(number)],)


class Split(
    Rule, functions=[torch.split, Tensor.split, torch.unsafe_split, Tensor.unsafe_split, torch.split_copy], complex=True
):
    """y = pieces of x along the axis `dim`: of equal size but the last, or of the sizes in a list.

    Derivation. dx is the pieces of dy joined.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("equal", torch.randn(5, 3), 2)
        yield case("sizes", torch.randn(2, 6), [1, 3, 2], dim=-1)

    @staticmethod
    def forward(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[tuple[Tensor, ...], Any]:
        lengths, total = split_size_or_sections, tensor.shape[dim]
        if isinstance(lengths, int):
            lengths = [min(lengths, total - start) for start in range(0, max(total, 1), lengths)]
        ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
        return tuple(tensor.narrow(dim, end - n, n) for end, n in zip(ends, lengths, strict=True)), dim

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, ...]) -> Tensor:
        return torch.cat(dy, cache)


class Chunk(Rule, functions=[torch.chunk, Tensor.chunk, torch.unsafe_chunk, Tensor.unsafe_chunk], complex=True):
    """y = at most `chunks` pieces of x along `dim`, of the least equal size that does, the last one smaller.

    Derivation. As for split.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("even", torch.randn(4, 3), 2)
        yield case("fewer than asked", torch.randn(2, 5), 4, dim=-1)

    @staticmethod
    def forward(input: Tensor, chunks: int, dim: int = 0) -> tuple[tuple[Tensor, ...], Any]:
        return Split.forward(input, max(-(-input.shape[dim] // chunks), 1), dim)

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, ...]) -> Tensor:
        return Split.backward(cache, dy)


class Unbind(Rule, functions=[torch.unbind, Tensor.unbind, torch.unbind_copy], complex=True):
    """y = the slices of x along the axis `dim`, which is dropped. Derivation. dx is the slices of dy side by side."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("first axis", torch.randn(3, 2))
        yield case("last axis", torch.randn(2, 3, 4), dim=-1)

    @staticmethod
    def forward(input: Tensor, dim: int = 0) -> tuple[tuple[Tensor, ...], Any]:
        return tuple(input.select(dim, i) for i in range(input.shape[dim])), dim

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, ...]) -> Tensor:
        return Stack.forward(dy, cache)[0]
