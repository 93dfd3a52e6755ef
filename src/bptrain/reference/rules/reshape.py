"""The same elements in another shape or another order of axes, and copies that change nothing.

Each y_j is one x_i and each x_i is one y_j, so dx is dy brought back into the shape of x.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case

Sizes = int | Sequence[int]


def sizes(given: tuple[Any, ...]) -> tuple[int, ...]:
    """(2, 3) from both x.view(2, 3) and x.view((2, 3)). Raises TypeError for a dtype, which x.view also takes."""
    flat = tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given
    if not all(isinstance(size, int) for size in flat):
        raise TypeError("only integers can be sizes")
    return flat


class Reshaped(Rule, complex=True):
    """The rules whose y is x in another shape: dx is dy in the shape of x, which they leave in the cache."""

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy.reshape(cache)


class Reshape(Reshaped, functions=[torch.reshape, Tensor.reshape, Tensor.view, torch.view_copy]):
    """y = x in another shape with as many elements."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("sizes as one", torch.randn(2, 6), (4, -1))
        yield case("sizes", torch.randn(2, 6), 3, 4, function=Tensor.view)
        yield case("sizes", torch.randn(2, 6).t(), -1, function=Tensor.reshape)

    @staticmethod
    def forward(input: Tensor, *shape: Any) -> tuple[Tensor, Any]:
        return input.reshape(sizes(shape)), input.shape


class ReshapeAs(Reshaped, functions=[Tensor.view_as, Tensor.reshape_as]):
    """y = x in the shape of another tensor, which is a constant here."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("other", torch.randn(2, 6), torch.randn(3, 4))

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        return input.reshape(other.shape), input.shape


class Flatten(Reshaped, functions=[torch.flatten, Tensor.flatten, torch.ravel, Tensor.ravel]):
    """y = x with the axes from start_dim to end_dim made one."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", torch.randn(2, 3, 4))
        yield case("from", torch.randn(2, 3, 4), 1)
        yield case("between", torch.randn(2, 3, 1, 4), start_dim=-3, end_dim=2)
        yield case("scalar", torch.randn(()))

    @staticmethod
    def forward(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> tuple[Tensor, Any]:
        rank = max(input.dim(), 1)
        first, last = start_dim % rank, end_dim % rank
        return input.reshape(*input.shape[:first], -1, *input.shape[last + 1 :]), input.shape


class Unflatten(Reshaped, functions=[torch.unflatten, Tensor.unflatten]):
    """y = x with the axis `dim` made several."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("middle", torch.randn(2, 6, 3), 1, (2, 3))
        yield case("last", torch.randn(2, 6), -1, [-1, 2])

    @staticmethod
    def forward(input: Tensor, dim: int, sizes: Sequence[int]) -> tuple[Tensor, Any]:
        axis = dim % input.dim()
        known = torch.Size(sizes).numel()
        filled = [input.shape[axis] // -known if size == -1 else size for size in sizes]
        return input.reshape(*input.shape[:axis], *filled, *input.shape[axis + 1 :]), input.shape


class Squeeze(Reshaped, functions=[torch.squeeze, Tensor.squeeze, Tensor.squeeze_, torch.squeeze_copy]):
    """y = x without its axes of size 1, or without those of them that `dim` names."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", torch.randn(1, 3, 1, 2))
        yield case("one", torch.randn(1, 3, 1), -1)
        yield case("not of size 1", torch.randn(2, 3), 0)
        yield case("several", torch.randn(1, 3, 1), dim=(0, 1))

    @staticmethod
    def forward(input: Tensor, dim: int | Sequence[int] | None = None) -> tuple[Tensor, Any]:
        named = range(input.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
        axes = {axis % max(input.dim(), 1) for axis in named}
        return input.reshape([n for i, n in enumerate(input.shape) if n != 1 or i not in axes]), input.shape


class Unsqueeze(Reshaped, functions=[torch.unsqueeze, Tensor.unsqueeze, Tensor.unsqueeze_, torch.unsqueeze_copy]):
    """y = x with a new axis of size 1 in the place `dim`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("middle", torch.randn(2, 3), 1)
        yield case("last", torch.randn(2, 3), dim=-1)

    @staticmethod
    def forward(input: Tensor, dim: int) -> tuple[Tensor, Any]:
        place = dim % (input.dim() + 1)
        return input.reshape(*input.shape[:place], 1, *input.shape[place:]), input.shape


TRANSPOSE = [
    *[torch.transpose, Tensor.transpose, Tensor.transpose_, torch.swapaxes, Tensor.swapaxes],
    *[Tensor.swapaxes_, torch.swapdims, Tensor.swapdims, Tensor.swapdims_, torch.transpose_copy],
]


class Transpose(Rule, functions=TRANSPOSE, complex=True):
    """y = x with two axes swapped. Derivation. Swapping them again undoes it."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("first and last", torch.randn(2, 3, 4), 0, -1)
        yield case("NumPy's names", torch.randn(2, 3, 4), axis0=0, axis1=1, function=torch.swapaxes)

    @staticmethod
    def forward(input: Tensor, dim0: int, dim1: int) -> tuple[Tensor, Any]:
        return input.transpose(dim0, dim1), (dim0, dim1)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy.transpose(*cache)


TURN = [torch.t, Tensor.t, Tensor.t_, torch.t_copy, Tensor.T.__get__]  # type: ignore[attr-defined]


class T(Rule, functions=TURN, complex=True):
    """y = x with its axes in reverse order, two at most. Derivation. Reversing them again undoes it."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(2, 3))
        yield case("vector", torch.randn(3), function=torch.t)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.permute(tuple(reversed(range(input.dim())))), None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy.permute(tuple(reversed(range(dy.dim()))))


class MT(Rule, functions=[Tensor.mT.__get__], complex=True):  # type: ignore[attr-defined]
    """y = x with the last two axes swapped: each matrix transposed. Derivation. Swapping them again undoes it."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrices", torch.randn(2, 3, 4))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.transpose(-2, -1), None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy.transpose(-2, -1)


class Permute(Rule, functions=[torch.permute, Tensor.permute, torch.permute_copy], complex=True):
    """y = x with its axes in the order `dims`: axis k of y is axis dims[k] of x.

    Derivation. Axis i of x is the axis k of y with dims[k] = i: dx is dy in the inverse order.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("order as one", torch.randn(2, 3, 4), (2, 0, -2))
        yield case("order", torch.randn(2, 3, 4), 2, 0, 1, function=Tensor.permute)
        yield case("order by name", torch.randn(2, 3, 4), dims=(1, 2, 0))

    @staticmethod
    def forward(input: Tensor, *order: Any, dims: Sequence[int] | None = None) -> tuple[Tensor, Any]:
        axes = [axis % input.dim() for axis in (sizes(order) if dims is None else dims)]
        return input.permute(axes), axes

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy.permute([cache.index(axis) for axis in range(len(cache))])


class Movedim(Rule, functions=[torch.movedim, Tensor.movedim, torch.moveaxis, Tensor.moveaxis], complex=True):
    """y = x with the axes `source` moved to the places `destination`, the others in their order.

    Derivation. Moving them from `destination` to `source` undoes it.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("one", torch.randn(2, 3, 4), 0, -1)
        yield case("two", torch.randn(2, 3, 4, 1), (0, 1), (3, -3))
        yield case("by name", torch.randn(2, 3, 4), source=2, destination=0)

    @staticmethod
    def forward(input: Tensor, source: Sizes, destination: Sizes) -> tuple[Tensor, Any]:
        rank = input.dim()
        sources = [axis % rank for axis in ([source] if isinstance(source, int) else source)]
        places = [axis % rank for axis in ([destination] if isinstance(destination, int) else destination)]
        moved = dict(zip(places, sources, strict=True))
        others = iter(axis for axis in range(rank) if axis not in sources)
        return Permute.forward(input, [moved[k] if k in moved else next(others) for k in range(rank)])

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return Permute.backward(cache, dy)
