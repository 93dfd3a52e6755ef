"""Elements in order of size, and those of one rank: sort, topk, kthvalue, median, mode.

Derivation. Each y_j is one x_i, at a place that its own index names: dx is 0 but for dy at these places. Which one of
equal elements an index names is not told by the mathematics; it is read from torch's own result. So a place that
holds another element than the one that has the rank is not taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.reduction import drop_axes

TIES = torch.tensor([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 3.0]])


def _places(x: Tensor, own: Tensor, read: Tensor, dim: int) -> Tensor:
    """The indices that torch gave, wherever they name an element equal to the one that our own index names."""
    return torch.where(x.gather(dim, read) == x.gather(dim, own), read, own)


def tied(x: Tensor, dim: int, descending: bool = False) -> Tensor:
    """Whether each element of x, once sorted along `dim`, equals another one, so that either could stand there."""
    if x.dim() == 0:
        return x.new_zeros(1, dtype=torch.bool)
    y = x.sort(dim=dim, descending=descending).values
    equal = y.narrow(dim, 1, y.shape[dim] - 1) == y.narrow(dim, 0, y.shape[dim] - 1)
    end = torch.zeros_like(y.narrow(dim, 0, 1), dtype=torch.bool)
    return torch.cat([equal, end], dim) | torch.cat([end, equal], dim)


class Ordered(Rule):
    """The rules that give elements along an axis and their indices, both in the cache's terms."""

    @staticmethod
    def of(x: Tensor, own: Tensor, read: Tensor, dim: int, keepdim: bool = True) -> tuple[tuple[Tensor, Tensor], Any]:
        """`own` and `read` have the axis `dim`; without `keepdim` the results drop it."""
        if x.dim() == 0:
            return (x.clone(), read), (x, None, dim)
        places = _places(x, own, read, dim)
        y = x.gather(dim, places)
        return (drop_axes(y, dim, keepdim), drop_axes(places, dim, keepdim)), (x, places, dim)

    @staticmethod
    def backward(cache: Any, dy: Any) -> Tensor:
        x, places, dim = cache
        if places is None:
            return dy[0]
        return torch.zeros_like(x).scatter(dim, places, dy[0].reshape(places.shape))


class Sort(Ordered, functions=[torch.sort, Tensor.sort], random=True):
    """y = x in ascending or descending order along the axis `dim`, and the indices."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("ascending", torch.randn(2, 5))
        yield case("descending", torch.randn(4, 3), 0, True)
        yield case("ties", TIES, dim=-1, descending=True, stable=True, smooth=False)
        yield case("scalar", torch.randn(()))

    @staticmethod
    def kinks(input: Tensor, dim: int = -1, *args: Any, **kwargs: Any) -> int:
        return int(tied(input, dim).sum())

    @staticmethod
    def forward(
        input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False, again: Callable
    ) -> tuple[Any, Any]:
        own = input.sort(dim=dim, descending=descending, stable=True).indices
        read = again(input, dim=dim, descending=descending, stable=stable)[1]
        return Ordered.of(input, own, read, dim)


class MSort(Ordered, functions=[torch.msort, Tensor.msort]):
    """y = x in ascending order along the first axis."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(4, 3))

    @staticmethod
    def kinks(input: Tensor) -> int:
        return int(tied(input, 0).sum())

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        own = input.sort(dim=0, stable=True).indices
        (y, _), cache = Ordered.of(input, own, own, 0)
        return y, cache

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return Ordered.backward(cache, (dy, dy))


class TopK(Ordered, functions=[torch.topk, Tensor.topk], random=True):
    """y = the k largest (or smallest) of x along the axis `dim`, and the indices."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("largest", torch.randn(2, 5), 2)
        yield case("smallest", torch.randn(4, 3), 3, 0, False)
        yield case("ties", TIES, 2, smooth=False)
        yield case("all, unsorted", torch.randn(2, 4), k=4, sorted=False)

    @staticmethod
    def kinks(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> int:
        return int(tied(input, dim, largest).narrow(dim, 0, k).sum())

    @staticmethod
    def forward(
        input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, again: Callable
    ) -> tuple[Any, Any]:
        read = again(input, k, dim, largest, sorted)[1]
        if input.dim() == 0:
            return Ordered.of(input, read, read, dim)
        own = input.sort(dim=dim, descending=largest, stable=True).indices.narrow(dim, 0, k)
        if not sorted:  # in any order: each of our places goes where torch put an element of that rank
            rank = input.gather(dim, read).sort(dim=dim, descending=largest, stable=True).indices
            own = own.gather(dim, rank.sort(dim=dim).indices)
        return Ordered.of(input, own, read, dim)


class KthValue(Ordered, functions=[torch.kthvalue, Tensor.kthvalue], random=True):
    """y = the k-th smallest of x along the axis `dim`, counted from 1, and its index."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("last axis", torch.randn(2, 5), 2)
        yield case("kept", torch.randn(4, 3), 4, dim=0, keepdim=True)
        yield case("ties", TIES, 3, smooth=False)

    @staticmethod
    def kinks(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> int:
        return int(tied(input, dim).narrow(dim, k - 1, 1).sum())

    @staticmethod
    def forward(input: Tensor, k: int, dim: int = -1, keepdim: bool = False, *, again: Callable) -> tuple[Any, Any]:
        read = again(input, k, dim, True)[1]
        own = read if input.dim() == 0 else input.sort(dim=dim, stable=True).indices.narrow(dim, k - 1, 1)
        return Ordered.of(input, own, read, dim, keepdim)


class Median(Rule, functions=[torch.median, Tensor.median], random=True):
    """y = the middle one of x, the lower of two: of all elements, or along the axis `dim` with its index.

    Derivation. See above; without `dim` the convention at a tie of m elements is dy / m each.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", torch.randn(3, 3))
        yield case("axis", torch.randn(2, 5), 1)
        yield case("kept", torch.randn(4, 3), dim=0, keepdim=True)
        yield case("ties", TIES, -1, smooth=False)
        yield case("all, ties", TIES, smooth=False)

    @staticmethod
    def kinks(input: Tensor, dim: int | None = None, keepdim: bool = False) -> int:
        x, axis = (input.reshape(-1), 0) if dim is None else (input, dim)
        return KthValue.kinks(x, (x.shape[axis] + 1) // 2 if x.dim() else 1, axis)

    @staticmethod
    def forward(input: Tensor, dim: int | None = None, keepdim: bool = False, *, again: Callable) -> tuple[Any, Any]:
        if dim is None:
            row = input.reshape(-1)
            y = row.sort().values[(row.numel() - 1) // 2]
            equal = (input == y).to(input.dtype)
            return y, equal / equal.sum()
        read = again(input, dim, True)[1]
        middle = (input.shape[dim] - 1) // 2 if input.dim() else 0
        own = input.sort(dim=dim, stable=True).indices.narrow(dim, middle, 1) if input.dim() else read
        return Ordered.of(input, own, read, dim, keepdim)

    @staticmethod
    def backward(cache: Any, dy: Any) -> Tensor:
        return Ordered.backward(cache, dy) if isinstance(cache, tuple) else dy * cache


class NanMedian(Rule, functions=[torch.nanmedian, Tensor.nanmedian], random=True):
    """y = the median of those x that are not NaN, by the conventions of `Median`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        holes = torch.where(torch.tensor([[0, 0, 1, 0, 0], [1, 0, 0, 1, 0]]) == 1, torch.nan, torch.randn(2, 5))
        yield case("all", holes, smooth=False)
        yield case("axis", holes, 1, smooth=False)
        yield case("first axis", holes, dim=0, keepdim=True, smooth=False)
        yield case("no NaN", torch.randn(2, 5), -1)
        yield case("all, ties", TIES, smooth=False)

    @staticmethod
    def middle(x: Tensor, dim: int) -> Tensor:
        """The rank of the median along the axis `dim`, which is kept; of NaN alone 0."""
        return torch.div((~x.isnan()).sum(dim, keepdim=True) - 1, 2, rounding_mode="floor").clamp_min(0)

    @staticmethod
    def kinks(input: Tensor, dim: int | None = None, keepdim: bool = False) -> int:
        x, axis = (input.reshape(-1), 0) if dim is None or not input.dim() else (input, dim)
        return int(tied(x, axis).gather(axis, NanMedian.middle(x, axis)).sum())

    @staticmethod
    def forward(input: Tensor, dim: int | None = None, keepdim: bool = False, *, again: Callable) -> tuple[Any, Any]:
        if dim is None:
            row = input.reshape(-1)
            y = row.sort().values[NanMedian.middle(row, 0)].squeeze(0)
            equal = (input == y).to(input.dtype)
            return y, equal / equal.sum()
        read = again(input, dim, True)[1]
        if input.dim() == 0:
            return Ordered.of(input, read, read, dim, keepdim)
        own = input.sort(dim=dim, stable=True).indices.gather(dim, NanMedian.middle(input, dim))
        return Ordered.of(input, own, read, dim, keepdim)

    backward = staticmethod(Median.backward)


class Mode(Ordered, functions=[torch.mode, Tensor.mode], random=True):
    """y = the most frequent x along the axis `dim`, the smallest of several, and its index."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all once", torch.randn(2, 3))
        yield case("ties", TIES, -1, True, smooth=False)
        yield case("first axis", TIES.t(), dim=0, smooth=False)

    @staticmethod
    def kinks(input: Tensor, dim: int = -1, keepdim: bool = False) -> int:
        return int(tied(input, dim).any(dim).sum())

    @staticmethod
    def forward(input: Tensor, dim: int = -1, keepdim: bool = False, *, again: Callable) -> tuple[Any, Any]:
        read = again(input, dim, True)[1]
        if input.dim() == 0:
            return Ordered.of(input, read, read, dim, keepdim)
        last = input.transpose(dim, -1)  # (..., N)
        count = (last[..., None] == last[..., None, :]).sum(-1)
        most = count == count.amax(-1, keepdim=True)
        own = torch.where(most, last, torch.inf).argmin(-1, keepdim=True).transpose(dim, -1)
        return Ordered.of(input, own, read, dim, keepdim)
