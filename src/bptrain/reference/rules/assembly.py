"""Tensors given at least so many axes and joined, in NumPy's ways; blocks on a diagonal; grids; combinations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations, combinations_with_replacement
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.indexing import Picked, pick
from bptrain.reference.rules.join import Cat


class Joined(Rule):
    """The rules that reshape the tensors and join them. Derivation. Each gets its part of dy in its own shape."""

    @staticmethod
    def of(tensors: Sequence[Tensor], shaped: list[Tensor], dim: int) -> tuple[Tensor, Any]:
        y, cache = Cat.forward(shaped, dim)
        return y, (cache, [t.shape for t in tensors])

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[list[Tensor]]:
        cache, shapes = cache
        (parts,) = Cat.backward(cache, dy)
        return ([part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)],)


class HStack(Joined, functions=[torch.hstack]):
    """y = the tensors side by side: along the second axis, vectors along their only one."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrices", [torch.randn(2, 3), torch.randn(2, 1)])
        yield case("vectors and a scalar", (torch.randn(2), torch.randn(()), torch.randn(3)))

    @staticmethod
    def forward(tensors: Sequence[Tensor]) -> tuple[Tensor, Any]:
        shaped = [t.reshape(1) if t.dim() == 0 else t for t in tensors]
        return Joined.of(tensors, shaped, 0 if shaped[0].dim() == 1 else 1)


class VStack(Joined, functions=[torch.vstack, torch.row_stack]):
    """y = the tensors below each other: along the first axis, vectors as rows."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix and vector", [torch.randn(2, 3), torch.randn(3)])
        yield case("scalars", (torch.randn(()), torch.randn(())))

    @staticmethod
    def forward(tensors: Sequence[Tensor]) -> tuple[Tensor, Any]:
        return Joined.of(tensors, [t.reshape(1, -1) if t.dim() < 2 else t for t in tensors], 0)


class DStack(Joined, functions=[torch.dstack]):
    """y = the tensors behind each other: along the third axis, matrices as (H, W, 1) and vectors as (1, W, 1)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("volume and matrix", [torch.randn(2, 3, 2), torch.randn(2, 3)])
        yield case("vectors", (torch.randn(3), torch.randn(3)))

    @staticmethod
    def forward(tensors: Sequence[Tensor]) -> tuple[Tensor, Any]:
        shaped = [t.reshape(1, -1, 1) if t.dim() < 2 else t[..., None] if t.dim() == 2 else t for t in tensors]
        return Joined.of(tensors, shaped, 2)


class ColumnStack(Joined, functions=[torch.column_stack]):
    """y = the tensors side by side: along the second axis, vectors as columns."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix and vector", [torch.randn(3, 2), torch.randn(3)])
        yield case("scalars", (torch.randn(()), torch.randn(())))

    @staticmethod
    def forward(tensors: Sequence[Tensor]) -> tuple[Tensor, Any]:
        return Joined.of(tensors, [t.reshape(-1, 1) if t.dim() < 2 else t for t in tensors], 1)


class BlockDiag(Rule, functions=[torch.block_diag]):
    """y = the matrices along the diagonal, 0 elsewhere; vectors are rows. Derivation. Each gets its block of dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix, vector and scalar", torch.randn(2, 3), torch.randn(2), torch.randn(()))

    @staticmethod
    def forward(*tensors: Tensor) -> tuple[Tensor, Any]:
        matrices = [t.reshape(1, -1) if t.dim() < 2 else t for t in tensors]
        y = matrices[0].new_zeros([sum(n) for n in zip(*(m.shape for m in matrices), strict=True)])
        corners, row, column = [], 0, 0
        for m in matrices:
            corners.append((slice(row, row + m.shape[0]), slice(column, column + m.shape[1])))
            y[corners[-1]] = m
            row, column = row + m.shape[0], column + m.shape[1]
        return y, (corners, [t.shape for t in tensors])

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[list[Tensor]]:
        return ([dy[corner].reshape(shape) for corner, shape in zip(*cache, strict=True)],)


class BroadcastTensors(Rule, functions=[torch.broadcast_tensors]):
    """y = the tensors broadcast to one shape. Derivation. Each dx is the sum over its copies."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("three", torch.randn(2, 1), torch.randn(3), torch.randn(4, 1, 1))

    @staticmethod
    def forward(*tensors: Tensor) -> tuple[list[Tensor], Any]:
        shape = torch.broadcast_shapes(*(t.shape for t in tensors))
        return [t.expand(shape) for t in tensors], [t.shape for t in tensors]

    @staticmethod
    def backward(cache: Any, dy: Sequence[Tensor]) -> tuple[list[Tensor]]:
        return ([sum_to(gradient, shape) for gradient, shape in zip(dy, cache, strict=True)],)


class Meshgrid(Rule, functions=[torch.meshgrid]):
    """y_k = x_k along axis k of a grid; with 'xy' the first two are swapped. Derivation. dx is the sum over copies."""

    @staticmethod
    def cases() -> Iterable[Case]:
        vectors = torch.randn(2), torch.randn(3), torch.randn(())
        yield case("matrix order", *vectors, indexing="ij")
        yield case("picture order", *vectors, indexing="xy")
        yield case("as one", list(vectors), indexing="ij")

    @staticmethod
    def forward(*tensors: Any, indexing: str | None = None) -> tuple[tuple[Tensor, ...], Any]:
        as_one = not isinstance(tensors[0], Tensor)
        vectors = tensors[0] if as_one else tensors
        axes = list(range(len(vectors)))
        if indexing == "xy" and len(axes) > 1:
            axes[:2] = [1, 0]
        wide = [
            t.reshape([-1 if i == axis else 1 for i in range(len(axes))]) for axis, t in zip(axes, vectors, strict=True)
        ]
        shape = torch.broadcast_shapes(*(t.shape for t in wide))
        return tuple(t.expand(shape) for t in wide), (as_one, [t.shape for t in vectors], [t.shape for t in wide])

    @staticmethod
    def backward(cache: Any, dy: Sequence[Tensor]) -> tuple[list[Any]]:
        as_one, shapes, wide = cache
        gradients = [sum_to(g, w).reshape(shape) for g, shape, w in zip(dy, shapes, wide, strict=True)]
        return ([gradients] if as_one else gradients,)


class CartesianProd(Rule, functions=[torch.cartesian_prod]):
    """y = a row for each choice of one element a vector, the last one changing first: a meshgrid as columns."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("two", torch.randn(2), torch.randn(3))
        yield case("one", torch.randn(3))

    @staticmethod
    def forward(*tensors: Tensor) -> tuple[Tensor, Any]:
        grids, cache = Meshgrid.forward(*tensors, indexing="ij")
        y = torch.cat([g.reshape(-1, 1) for g in grids], 1)  # (product of lengths, number of vectors)
        return y[:, 0] if len(tensors) == 1 else y, (cache, grids[0].shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[list[Any]]:
        cache, shape = cache
        columns = dy.reshape(math.prod(shape), -1)
        return Meshgrid.backward(cache, [columns[:, k].reshape(shape) for k in range(columns.shape[1])])


class Combinations(Picked, functions=[torch.combinations]):
    """y = all r elements of a vector that can be chosen of it, a row each; `with_replacement` one several times."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("pairs", torch.randn(4))
        yield case("three", torch.randn(4), 3)
        yield case("repeated", torch.randn(3), r=2, with_replacement=True)

    @staticmethod
    def forward(input: Tensor, r: int = 2, with_replacement: bool = False) -> tuple[Tensor, Any]:
        chosen = (combinations_with_replacement if with_replacement else combinations)(range(len(input)), r)
        index = torch.tensor(list(chosen), dtype=torch.long, device=input.device).reshape(-1, r)
        return pick(input, lambda places: places[index])
