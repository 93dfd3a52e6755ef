"""Elements picked from a tensor: y_j = x_{s(j)}, where a place s(j) may be picked often or never.

Derivation. x_i is in every y_j with s(j) = i, so dx_i is the sum of those dy_j. The places are found by
the very indexing that picks the elements, applied to the numbers of the places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.reshape import sizes

Choose = Callable[[Tensor], Tensor]


def pick(x: Tensor, choose: Choose) -> tuple[Tensor, Any]:
    """The elements of `x` at the places that `choose` takes from a tensor of all places, and those places."""
    places = choose(torch.arange(x.numel(), device=x.device).reshape(x.shape))
    return x.reshape(-1)[places], (places, x.shape)


class Picked(Rule, complex=True):
    """The rules whose forward is `pick`: each dy_j is added to the place that y_j came from."""

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        places, shape = cache
        dx = dy.new_zeros(shape.numel())
        return dx.index_add(0, places.reshape(-1), dy.reshape(-1)).reshape(shape)


class GetItem(Picked, functions=[Tensor.__getitem__]):
    """y = x[index] with integers, slices, None, Ellipsis, masks and tensors or lists of integers."""

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.randn(4, 3, 2)
        yield case("integer", x, 1)
        yield case("negative integers", x, (-1, 0))
        yield case("slices", x, (slice(1, None, 2), slice(None, -1)))
        yield case("new axis and ellipsis", x, (None, ..., 1))
        yield case("mask", x, x[..., 0] > 0)
        yield case("mask in the middle", x, (slice(None), torch.tensor([True, False, True])))
        yield case("repeated integers", x, torch.tensor([0, 2, 2, -1]))
        yield case("pairs", x, (torch.tensor([0, 2, 0]), torch.tensor([1, 1, 1])))
        yield case("tensors apart", x, (torch.tensor([[0], [2]]), slice(None), torch.tensor([0, 1, 1])))
        yield case("list", x, [2, 0])
        yield case("element", x, (1, 2, 0))

    @staticmethod
    def forward(input: Tensor, index: Any) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places[index])


class SetItem(Rule, functions=[Tensor.__setitem__], complex=True):
    """x[index] = v: y = x, with the elements of v (broadcast) in the places that `index` picks.

    Derivation. What was overwritten is gone, dx = dy with zeros in those places; v went there, so dv is dy[index],
    summed over the axes along which v was repeated. Of several v for one place the last is kept by torch; no rule.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.randn(4, 3, 2)
        yield case("integer", x, 1, torch.randn(3, 2))
        yield case("broadcast", x, (slice(1, None, 2), slice(None, -1)), torch.randn(2))
        yield case("number", x, x > 0.5, 0.0)
        yield case("mask", x, x[..., 0] > 0, torch.randn(2))
        yield case("integers", x, torch.tensor([2, 0]), torch.randn(2, 3, 2))

    @staticmethod
    def forward(input: Tensor, index: Any, value: Any) -> tuple[Tensor, Any]:
        places = torch.arange(input.numel(), device=input.device).reshape(input.shape)[index].reshape(-1)
        times = torch.zeros(input.numel(), device=input.device).index_add(0, places, torch.ones_like(places).float())
        if places.numel() and times.max() > 1:
            raise TypeError("several values for one place: torch keeps one and gives all of them its gradient")
        y = input.clone()
        y[index] = value
        return y, (index, value)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        index, value = cache
        dx = dy.clone()
        dx[index] = 0
        return dx, None, sum_to(dy[index], value.shape) if isinstance(value, Tensor) else None


class Select(Picked, functions=[torch.select, Tensor.select, torch.select_copy]):
    """y = the slice of x at `index` along the axis `dim`, which is dropped."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("middle", torch.randn(2, 3, 4), 1, -1)
        yield case("by name", torch.randn(2, 3), dim=-1, index=0)

    @staticmethod
    def forward(input: Tensor, dim: int, index: int) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.select(dim, index))


class Narrow(Picked, functions=[torch.narrow, Tensor.narrow]):
    """y = `length` slices of x from `start` on, along the axis `dim`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("middle", torch.randn(2, 4, 3), 1, 1, 2)
        yield case("from the end", torch.randn(2, 4), dim=-1, start=-3, length=2)

    @staticmethod
    def forward(input: Tensor, dim: int, start: int, length: int) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.narrow(dim, start, length))


class IndexSelect(Picked, functions=[torch.index_select, Tensor.index_select]):
    """y = the slices of x at the places `index` (K) along the axis `dim`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("repeated", torch.randn(2, 4, 3), 1, torch.tensor([3, 0, 3]))
        yield case("by name", torch.randn(2, 4), dim=-2, index=torch.tensor([1]))

    @staticmethod
    def forward(input: Tensor, dim: int, index: Tensor) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.index_select(dim, index))


class Gather(Picked, functions=[torch.gather, Tensor.gather]):
    """y has the shape of `index`; along the axis `dim` its element j is the one of x at index_j."""

    @staticmethod
    def cases() -> Iterable[Case]:
        index = torch.tensor([[0, 2, 2], [1, 1, 0]])
        yield case("rows", torch.randn(3, 4), 0, index)
        yield case("columns", torch.randn(2, 3), dim=-1, index=index)

    @staticmethod
    def forward(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.gather(dim, index))


class TakeAlongDim(Picked, functions=[torch.take_along_dim, Tensor.take_along_dim]):
    """y = gather of x at `indices` after both are broadcast; from x as one row without `dim`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast", torch.randn(3, 4), torch.tensor([[0, 2, 2]]), 1)
        yield case("one row", torch.randn(2, 3), torch.tensor([5, 0, 5]))

    @staticmethod
    def forward(input: Tensor, indices: Tensor, dim: int | None = None) -> tuple[Tensor, Any]:
        def choose(places: Tensor) -> Tensor:
            if dim is None:
                return places.reshape(-1)[indices.reshape(-1)]
            axis = dim % places.dim()
            shape = torch.broadcast_shapes(
                *([1 if i == axis else n for i, n in enumerate(t.shape)] for t in (places, indices))
            )
            rows, columns = (t.expand(*shape[:axis], t.shape[axis], *shape[axis + 1 :]) for t in (places, indices))
            return rows.gather(axis, columns)

        return pick(input, choose)


class MaskedSelect(Picked, functions=[torch.masked_select, Tensor.masked_select]):
    """y = the elements of x where `mask` is true, in a row, after both are broadcast."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast mask", torch.randn(2, 3), torch.tensor([True, False, True]))
        yield case("broadcast x", torch.randn(3), mask=torch.tensor([[True], [False], [True]]))

    @staticmethod
    def forward(input: Tensor, mask: Tensor) -> tuple[Tensor, Any]:
        shape = torch.broadcast_shapes(input.shape, mask.shape)
        return pick(input, lambda places: places.expand(shape)[mask.expand(shape)])


class Diagonal(Picked, functions=[torch.diagonal, Tensor.diagonal, torch.diagonal_copy]):
    """y = the elements of x whose index along `dim2` is that along `dim1` plus `offset`, as the last axis."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(3, 4))
        yield case("matrices", torch.randn(2, 3, 4), offset=-1, dim1=-2, dim2=-1)

    @staticmethod
    def forward(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.diagonal(offset, dim1, dim2))


class Flip(Picked, functions=[torch.flip, Tensor.flip]):
    """y = x in reverse order along each of the axes `dims`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("axes as one", torch.randn(2, 3, 4), (0, -1))
        yield case("axes", torch.randn(2, 3, 4), 1, 2, function=Tensor.flip)
        yield case("axes by name", torch.randn(2, 3), dims=[1])

    @staticmethod
    def forward(input: Tensor, *axes: Any, dims: Sequence[int] | None = None) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.flip(sizes(axes) if dims is None else tuple(dims)))


class Roll(Picked, functions=[torch.roll, Tensor.roll]):
    """y = x shifted in a circle by `shifts` along the axes `dims`, or as one row without them."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("one axis", torch.randn(2, 5), 2, 1)
        yield case("two axes", torch.randn(2, 5, 3), shifts=(1, -2), dims=(0, 1))
        yield case("one row", torch.randn(2, 3), -1)

    @staticmethod
    def forward(
        input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None
    ) -> tuple[Tensor, Any]:
        return pick(input, lambda places: places.roll(shifts, dims))  # type: ignore[arg-type]
