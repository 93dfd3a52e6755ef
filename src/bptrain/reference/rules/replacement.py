"""Slices, diagonals or all of a tensor written over: see `placing.py` for the derivation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.placing import Value, numbered, place, place_gradients
from bptrain.reference.rules.slope import Sloped


class Written(Rule):
    """The rules whose forward is `place` of their second tensor in the first."""

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return place_gradients(cache, dy)


class SelectScatter(Written, functions=[torch.select_scatter, Tensor.select_scatter]):
    """y = x with v as its slice `index` along the axis `dim`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("middle", torch.randn(2, 3, 4), torch.randn(2, 4), 1, -1)

    @staticmethod
    def forward(input: Tensor, src: Tensor, dim: int, index: int) -> tuple[Tensor, Any]:
        return place(input, numbered(input).select(dim, index), src)


class SliceScatter(Written, functions=[torch.slice_scatter, Tensor.slice_scatter]):
    """y = x with v as its slices from `start` to `end` along the axis `dim`, every `step`-th."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("steps", torch.randn(2, 5), torch.randn(2, 2), 1, 0, -1, 2)
        yield case("rows", torch.randn(4, 2), torch.randn(2, 2), start=-2)

    @staticmethod
    def forward(
        input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
    ) -> tuple[Tensor, Any]:
        return place(input, numbered(input)[(*[slice(None)] * (dim % input.dim()), slice(start, end, step))], src)


class DiagonalScatter(Written, functions=[torch.diagonal_scatter, Tensor.diagonal_scatter]):
    """y = x with v as its diagonal."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("main", torch.randn(3, 4), torch.randn(3))
        yield case("beside", torch.randn(2, 3, 4), torch.randn(2, 2), -1, 1, 2)

    @staticmethod
    def forward(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> tuple[Tensor, Any]:
        return place(input, numbered(input).diagonal(offset, dim1, dim2), src)


class FillDiagonal(Written, functions=[Tensor.fill_diagonal_]):
    """y = x with one number on its diagonal, which below a tall matrix starts again with `wrap`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("tall", torch.randn(5, 2), 0.7)
        yield case("wide", torch.randn(2, 3), 0.7, wrap=True)
        yield case("again", torch.randn(7, 2), 0.7, wrap=True)
        yield case("cube", torch.randn(3, 3, 3), 0.7)

    @staticmethod
    def forward(input: Tensor, fill_value: float, wrap: bool = False) -> tuple[Tensor, Any]:
        row = numbered(input).reshape(-1)
        step = sum(torch.Size(input.shape[axis:]).numel() for axis in range(1, input.dim())) + 1
        end = len(row) if wrap and input.dim() == 2 else min(input.shape) * step
        return place(input, row[:end:step], fill_value)


class Fill(Rule, functions=[torch.fill, torch.fill_, Tensor.fill_]):
    """y = one value everywhere. Derivation. dx = 0, and dv is the sum of dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("number", torch.randn(2, 3), 0.7)
        yield case("tensor", torch.randn(2, 3), torch.tensor(0.7))

    @staticmethod
    def forward(input: Tensor, value: Value) -> tuple[Tensor, Any]:
        return torch.zeros_like(input) + value, value

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return torch.zeros_like(dy), sum_to(dy, cache.shape) if isinstance(cache, Tensor) else None


class Zero(Sloped, functions=[torch.zero_, Tensor.zero_]):
    """y = 0 everywhere. Derivation. dx = 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(2, 3))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return torch.zeros_like(input), 0


class CopyFrom(Rule, functions=[Tensor.copy_]):
    """y = v broadcast to the shape of x, which is gone. Derivation. dx = 0, and dv is dy summed over the copies."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("same shape", torch.randn(2, 3), torch.randn(2, 3))
        yield case("broadcast", torch.randn(2, 3), torch.randn(3), non_blocking=True)

    @staticmethod
    def forward(input: Tensor, src: Tensor, non_blocking: bool = False) -> tuple[Tensor, Any]:
        if not src.is_floating_point():
            raise TypeError("a copy of integers has no gradient")
        return src.expand(input.shape), src.shape

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(dy), sum_to(dy, cache)
