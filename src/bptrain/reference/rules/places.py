"""Elements picked by windows, diagonals, turns and flat numbers: see `indexing.py` for the derivation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.indexing import Picked, pick


class Take(Picked, functions=[torch.take, Tensor.take]):
    """y = the elements of x at the places `index`, counted as if x were one row."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("repeated", torch.randn(2, 3), torch.tensor([[5, 0], [-1, 2]]))

    @staticmethod
    def forward(input: Tensor, index: Tensor) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.reshape(-1)[index])


class Unfold(Picked, functions=[Tensor.unfold, torch.unfold_copy]):
    """y = windows of `size` elements along an axis, each `step` after the last; the window is the last axis."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("overlapping", torch.randn(2, 6, 2), 1, 3, 2)
        yield case("by name", torch.randn(5), dimension=0, size=2, step=3)

    @staticmethod
    def forward(input: Tensor, dimension: int, size: int, step: int) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.unfold(dimension, size, step))


class LinalgDiagonal(Picked, functions=[torch.linalg.diagonal]):
    """y = the diagonal of each matrix, by default that of the last two axes."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrices", torch.randn(2, 3, 4))
        yield case("beside", torch.randn(3, 4, 2), offset=1, dim1=0, dim2=1)

    @staticmethod
    def forward(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> tuple[Tensor, Any]:
        return pick(A, lambda places: places.diagonal(offset, dim1, dim2))


class Trace(Picked, functions=[torch.trace, Tensor.trace]):
    """y = the sum of the diagonal of a matrix. Derivation. dx = dy on the diagonal, else 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("wide", torch.randn(3, 4))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y, cache = pick(input, lambda places: places.diagonal())
        return y.sum(), cache

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return Picked.backward(cache, dy.expand(cache[0].shape))


class DiagEmbed(Rule, functions=[torch.diag_embed, Tensor.diag_embed]):
    """y = 0 but for the last axis of x on the diagonal of each matrix. Derivation. dx = that diagonal of dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("vectors", torch.randn(2, 3))
        yield case("beside", torch.randn(2, 3), offset=-1, dim1=0, dim2=2)
        yield case("above", torch.randn(3), 2)

    @staticmethod
    def forward(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> tuple[Tensor, Any]:
        side, rank = input.shape[-1] + abs(offset), input.dim() + 1
        axes = (dim1 % rank, dim2 % rank)
        batch = iter(input.shape[:-1])
        y = input.new_zeros([side if i in axes else next(batch) for i in range(rank)])
        y.diagonal(offset, *axes).copy_(input)
        return y, (offset, *axes)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy.diagonal(*cache)


class Diag(Rule, functions=[torch.diag, Tensor.diag]):
    """y = the matrix with a vector on its diagonal, or the diagonal of a matrix. Derivation. Each undoes the other."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("vector", torch.randn(3), 1)
        yield case("matrix", torch.randn(3, 4), diagonal=-1)

    @staticmethod
    def forward(input: Tensor, diagonal: int = 0) -> tuple[Tensor, Any]:
        rule = DiagEmbed if input.dim() == 1 else LinalgDiagonal
        y, cache = rule.forward(input, offset=diagonal)
        return y, (rule, cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        rule, cache = cache
        return rule.backward(cache, dy)


class DiagFlat(Rule, functions=[torch.diagflat, Tensor.diagflat]):
    """y = the matrix with all elements of x on its diagonal. Derivation. dx = that diagonal of dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(2, 2), -1)

    @staticmethod
    def forward(input: Tensor, offset: int = 0) -> tuple[Tensor, Any]:
        y, cache = DiagEmbed.forward(input.reshape(-1), offset)
        return y, (cache, input.shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        cache, shape = cache
        return DiagEmbed.backward(cache, dy).reshape(shape)


class Rot90(Picked, functions=[torch.rot90, Tensor.rot90]):
    """y = x turned k times by 90 degrees, from the first to the second of two axes."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("once", torch.randn(2, 3))
        for k in (2, -1, 4):
            yield case(f"{k} times", torch.randn(2, 3, 4), k, [1, 2])

    @staticmethod
    def forward(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> tuple[Tensor, Any]:
        first, second = dims

        def turned(places: Tensor) -> Tensor:
            for _ in range(k % 4):
                places = places.flip(second).transpose(first, second)
            return places

        return pick(input, turned)


class FlipLR(Picked, functions=[torch.fliplr, Tensor.fliplr]):
    """y = x with its second axis in reverse order."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(2, 3))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.flip(1))


class FlipUD(Picked, functions=[torch.flipud, Tensor.flipud, Tensor.__reversed__]):
    """y = x with its first axis in reverse order."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(2, 3))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.flip(0))


class NarrowCopy(Picked, functions=[torch.narrow_copy, Tensor.narrow_copy]):
    """y = a copy of `length` slices of x from `start` on, along the axis `dim`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("middle", torch.randn(2, 4, 3), 1, 1, 2)

    @staticmethod
    def forward(input: Tensor, dim: int, start: int, length: int) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.narrow(dim, start, length))
