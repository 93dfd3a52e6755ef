"""The functions that write to places of a tensor: see `placing.py` for the derivation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.placing import Value, add_at, along, numbered, place, place_gradients

COLUMNS = torch.tensor([[0, 2], [1, 0]])  # no place twice along the last axis


class Scatter(Rule, functions=[torch.scatter, Tensor.scatter, Tensor.scatter_]):
    """y = x with v_j at the place index_j along the axis `dim`; v has the shape of `index` or is a number."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("tensor", torch.randn(2, 3), 1, COLUMNS, torch.randn(2, 2))
        yield case("number", torch.randn(2, 3), -1, COLUMNS, 0.7, function=Tensor.scatter)
        yield case("number, places twice", torch.randn(3), 0, torch.tensor([1, 1]), value=0.7, function=torch.scatter)
        yield case("by name", torch.randn(3, 2), dim=0, index=COLUMNS, src=torch.randn(2, 2), function=torch.scatter)

    @staticmethod
    def forward(
        input: Tensor, dim: int, index: Tensor, src: Value | None = None, *, value: float | None = None
    ) -> tuple[Tensor, Any]:
        given = value if src is None else src
        if isinstance(given, Tensor) and given.shape != index.shape and given.dim():
            raise TypeError("the source has another shape than the index, for which torch has no gradient")
        return place(input, along(input, dim, index), given)  # type: ignore[arg-type]

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dinput, dsrc = place_gradients(cache, dy)
        return dinput, None, None, dsrc


class ScatterAdd(Rule, functions=[torch.scatter_add, Tensor.scatter_add, Tensor.scatter_add_]):
    """y = x plus v_j at the place index_j along the axis `dim`. Derivation. dx = dy, and dv is dy at its place."""

    @staticmethod
    def cases() -> Iterable[Case]:
        index = torch.tensor([[0, 2], [1, 0], [0, 2]])
        yield case("places twice", torch.randn(3, 2), 0, index, torch.randn(3, 2))
        yield case("last axis", torch.randn(3, 4), -1, index, src=torch.randn(3, 2), function=torch.scatter_add)

    @staticmethod
    def forward(input: Tensor, dim: int, index: Tensor, src: Tensor) -> tuple[Tensor, Any]:
        if src.shape != index.shape:
            raise TypeError("the source has another shape than the index, for which torch has no gradient")
        places = along(input, dim, index)
        return add_at(input, places, src), places

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return dy, None, None, dy.reshape(-1)[cache]


class IndexAdd(Rule, functions=[torch.index_add, Tensor.index_add, Tensor.index_add_]):
    """y = x plus alpha times slice j of v at slice index_j of x. Derivation. dx = dy, dv_j = alpha dy at index_j."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("slices twice", torch.randn(2, 4), 1, torch.tensor([3, 0, 3]), torch.randn(2, 3))
        yield case("factor", torch.randn(3, 2), 0, torch.tensor([1]), torch.randn(1, 2), alpha=0.3)

    @staticmethod
    def forward(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> tuple[Tensor, Any]:
        places = numbered(input).index_select(dim, index.reshape(-1))
        return add_at(input, places, alpha * source), (places, alpha, source.shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        places, alpha, shape = cache
        return dy, None, None, alpha * sum_to(dy.reshape(-1)[places], shape)


class IndexFill(Rule, functions=[torch.index_fill, Tensor.index_fill, Tensor.index_fill_]):
    """y = x with one value in its slices `index` along the axis `dim`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("number", torch.randn(2, 4), 1, torch.tensor([3, 0]), 0.7)
        yield case("tensor", torch.randn(3, 2), 0, torch.tensor([1, 1]), torch.tensor(0.7))

    @staticmethod
    def forward(input: Tensor, dim: int, index: Tensor, value: Value) -> tuple[Tensor, Any]:
        named = index.new_zeros(input.shape[dim]).index_add(0, index.reshape(-1), torch.ones_like(index.reshape(-1)))
        chosen = named.nonzero().reshape(-1)  # each once, however often it is named
        return place(input, numbered(input).index_select(dim, chosen), value)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return Scatter.backward(cache, dy)


class IndexPut(Rule, functions=[torch.index_put, torch.index_put_, Tensor.index_put, Tensor.index_put_]):
    """x[indices] = v, or x[indices] += v where `accumulate` is true, which gives dx = dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        pair = (torch.tensor([0, 2]), torch.tensor([1, 1]))
        yield case("pairs", torch.randn(3, 2), pair, torch.randn(2))
        yield case("broadcast", torch.randn(3, 2), (torch.tensor([0, 2]),), torch.tensor(0.5))
        yield case("mask", torch.randn(3), (torch.tensor([True, False, True]),), torch.randn(2))
        twice = (torch.tensor([0, 2, 0]), torch.tensor([1, 1, 1]))
        yield case("added", torch.randn(3, 2), twice, torch.randn(3), accumulate=True, function=torch.index_put)

    @staticmethod
    def forward(input: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool = False) -> tuple[Tensor, Any]:
        places = numbered(input)[tuple(slice(None) if index is None else index for index in indices)]
        if accumulate:
            return add_at(input, places, values), (True, (places, values))
        y, cache = place(input, places, values)
        return y, (False, cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, None, Any]:
        accumulate, cache = cache
        dinput, dvalues = place_gradients(cache, dy)
        return dy if accumulate else dinput, None, dvalues


class Put(Rule, functions=[torch.put, Tensor.put, Tensor.put_]):
    """y = x with v_j at the place index_j, counted as if x were one row; or plus v_j where `accumulate` is true."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("once", torch.randn(2, 3), torch.tensor([5, 0]), torch.randn(2))
        yield case("added", torch.randn(2, 3), torch.tensor([[5, 5]]), torch.randn(1, 2), True)

    @staticmethod
    def forward(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> tuple[Tensor, Any]:
        y, cache = IndexPut.forward(input.reshape(-1), (index,), source.reshape(index.shape), accumulate)
        return y.reshape(input.shape), (cache, source.shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        cache, shape = cache
        dinput, _, dsource = IndexPut.backward(cache, dy.reshape(-1))
        return dinput.reshape(dy.shape), None, dsource.reshape(shape)


class MaskedScatter(Rule, functions=[torch.masked_scatter, Tensor.masked_scatter, Tensor.masked_scatter_]):
    """y = x with the first elements of v, in their order, where `mask` is true."""

    @staticmethod
    def cases() -> Iterable[Case]:
        mask = torch.tensor([[True, False, True], [False, False, True]])
        yield case("left over", torch.randn(2, 3), mask, torch.randn(2, 2))
        yield case("broadcast", torch.randn(2, 3), mask[0], torch.randn(4), function=torch.masked_scatter)

    @staticmethod
    def forward(input: Tensor, mask: Tensor, source: Tensor) -> tuple[Tensor, Any]:
        shape = torch.broadcast_shapes(input.shape, mask.shape)
        places = numbered(input.expand(shape))[mask.expand(shape)]
        y, cache = place(input.expand(shape), places, source.reshape(-1)[: places.numel()])
        return y, (cache, input.shape, source.shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        cache, shape, source = cache
        dinput = place_gradients(cache, dy)[0]
        used = dy.reshape(-1)[cache[0]]
        left = dy.new_zeros(source.numel() - used.numel())
        return sum_to(dinput, shape), None, torch.cat([used, left]).reshape(source)
