"""Reductions that leave out NaN, give both extremes, interpolate between ranks, or sum to a shape."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.extremum import AMax, AMin
from bptrain.reference.rules.reduction import Axes, Sum, keep_axes
from bptrain.reference.rules.reshape import sizes

HOLES = torch.tensor([[0.5, math.nan, -2.0], [math.nan, 1.5, 3.0]])


class NanSum(Rule, functions=[torch.nansum, Tensor.nansum]):
    """y = the sum of those x along the axes `dim` that are not NaN. Derivation. They get dy, the others 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", HOLES, smooth=False)
        yield case("one axis", HOLES, 1, True, smooth=False)
        yield case("no NaN", torch.randn(2, 3, 4), dim=(0, -1), dtype=torch.float64)

    @staticmethod
    def forward(
        input: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Any]:
        number = ~input.isnan()
        return Sum.forward(torch.where(number, input, 0), dim, keepdim)[0], (number, dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        number, dim = cache
        return torch.where(number, keep_axes(dy, number, dim), 0)


class NanMean(Rule, functions=[torch.nanmean, Tensor.nanmean]):
    """y = the mean of those x along the axes `dim` that are not NaN. Derivation. The n of them get dy / n each."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return NanSum.cases()

    @staticmethod
    def forward(
        input: Tensor, dim: Axes = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Any]:
        y, cache = NanSum.forward(input, dim, keepdim)
        n = Sum.forward(cache[0].to(input.dtype), dim, keepdim)[0]
        return y / n, (cache, n)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        cache, n = cache
        return NanSum.backward(cache, dy / n)


class AMinMax(Rule, functions=[torch.aminmax, Tensor.aminmax]):
    """y = the smallest and the largest x, of all or along an axis. Derivation. The sum of those of amin and amax."""

    @staticmethod
    def cases() -> Iterable[Case]:
        ties = torch.tensor([[1.0, 3.0, 3.0], [0.0, 0.0, 3.0]])
        yield case("all, ties", ties, smooth=False)
        yield case("axis, ties", ties, dim=1, smooth=False)
        yield case("axis", torch.randn(2, 3), dim=0, keepdim=True)

    @staticmethod
    def kinks(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> int:
        axes = () if dim is None else dim
        return AMin.kinks(input, axes) + AMax.kinks(input, axes)

    @staticmethod
    def forward(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Any, Any]:
        axes = () if dim is None else dim
        smallest, below = AMin.forward(input, axes, keepdim)
        largest, above = AMax.forward(input, axes, keepdim)
        return (smallest, largest), (below, above)

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> Tensor:
        return AMin.backward(cache[0], dy[0]) + AMax.backward(cache[1], dy[1])


class Quantile(Rule, functions=[torch.quantile, Tensor.quantile]):
    """y = the x of rank r = q (n - 1) of n in ascending order, of all elements or along the axis `dim`.

    Between ranks `interpolation` takes the lower one, the higher, the nearest, their mean or the line between them.
    Several q become the first axis of y. Derivation. y = (1 - w) x_below + w x_above, so these get (1 - w) dy and
    w dy. On the line w = r - floor(r), so that dq = dy (n - 1) (x_above - x_below), else 0. Of equal elements the first
    one gets it.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.randn(2, 5)
        yield case("all", x, 0.3)
        yield case("axis", x, torch.tensor([0.1, 0.3, 0.6]), 1)
        yield case("ends", x, torch.tensor([0.0, 1.0]), 1, constant=("q",))
        yield case("kept", x, torch.tensor(0.7), dim=0, keepdim=True)
        yield case("scalar", torch.tensor(0.5), 0.7, -1, True)
        for interpolation in ("lower", "higher", "nearest", "midpoint"):
            yield case(interpolation, x, torch.tensor([0.3, 0.6]), 1, interpolation=interpolation)

    @staticmethod
    def count(row: Tensor) -> Tensor:
        """n, for the rows (..., N) to take quantiles of, as (..., 1)."""
        return torch.full_like(row[..., :1], row.shape[-1])

    @classmethod
    def kinks(cls, *args: Any, **kwargs: Any) -> int:
        _, (_, _, _, row, places, weights, _) = cls.forward(*args, **kwargs)
        times = (row[..., None, :] == row.gather(-1, places)[..., None]).sum(-1)  # (..., 2 Q)
        below, above = ((times > 1) & (weights > 0)).chunk(2, -1)
        return int((below | above).sum())

    @classmethod
    def forward(
        cls, input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
    ) -> tuple[Tensor, Any]:
        several, dim = isinstance(q, Tensor) and q.dim() == 1, dim if input.dim() else None
        row = input.reshape(-1) if dim is None else input.movedim(dim, -1)  # (..., N)
        last = (cls.count(row) - 1).clamp_min(0)  # (..., 1)
        rank = torch.as_tensor(q, dtype=input.dtype, device=input.device).reshape(-1) * last  # (..., Q)
        if interpolation in ("lower", "higher", "nearest"):
            rank = {"lower": rank.floor(), "higher": rank.ceil(), "nearest": rank.round()}[interpolation]
        below, above = rank.floor(), rank.ceil()
        weight = torch.where(rank > below, 0.5, 0.0) if interpolation == "midpoint" else rank - below
        places = row.sort(stable=True).indices.gather(-1, torch.cat([below, above], -1).long())  # (..., 2 Q)
        weights = torch.cat([1 - weight, weight], -1)  # (..., 2 Q)
        low, high = row.gather(-1, places).chunk(2, -1)
        y = (low + weight * (high - low)).movedim(-1, 0)  # (Q, ...)
        if keepdim:
            y = y.unsqueeze(dim % input.dim() + 1) if dim is not None else y.reshape(-1, *[1] * input.dim())
        slope = last * (high - low) if interpolation == "linear" else torch.zeros_like(low)
        return y if several else y[0], (input, q, dim, row, places, weights, slope)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor | None]:
        input, q, dim, row, places, weights, slope = cache
        single = dy.reshape(-1, *row.shape[:-1]).movedim(0, -1)  # (..., Q)
        drow = torch.zeros_like(row).scatter_add(-1, places, weights * torch.cat([single, single], -1))
        dq = sum_to(single * slope, slope.shape[-1:]).reshape(q.shape) if isinstance(q, Tensor) else None
        return drow.reshape(input.shape) if dim is None else drow.movedim(-1, dim), dq


class NanQuantile(Quantile, functions=[torch.nanquantile, Tensor.nanquantile]):
    """y = the quantile of those x that are not NaN, which sort last."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", HOLES, 0.3, smooth=False)
        yield case("axis", HOLES, torch.tensor([0.1, 0.6]), 1, smooth=False)
        yield case("first axis", HOLES, 0.7, 0, True, interpolation="nearest", smooth=False)
        yield case("no NaN", torch.randn(2, 5), torch.tensor(0.3), dim=-1)

    @staticmethod
    def count(row: Tensor) -> Tensor:
        return (~row.isnan()).sum(-1, keepdim=True).to(row.dtype)


class SumToSize(Rule, functions=[Tensor.sum_to_size]):
    """y = x summed to a shape that could be broadcast to its own. Derivation. Each x gets the dy of its sum."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("sizes", torch.randn(4, 2, 3), 2, 1)
        yield case("sizes as one", torch.randn(2, 3), (1, 3))

    @staticmethod
    def forward(input: Tensor, *size: Any) -> tuple[Tensor, Any]:
        return sum_to(input, torch.Size(sizes(size))), input.shape

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy.expand(cache)
