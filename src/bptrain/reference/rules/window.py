"""The windows of a pooling: which elements of the last axes each of them sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Sizes = int | Sequence[int] | None


@dataclass(frozen=True)
class Windows:
    """P windows of K elements each on axes *S that count as one.

    `index` (P, K) says where an element stands; in place of one outside (in the padding, or beyond the end of
    a window that is shorter than the longest) it names the first element inside, so that the maximum of a window
    needs no mask. `inside` (P, K) is False for such an element, `padded` (P, K) for those beyond the padding.
    `places` *P is the shape of the result.
    """

    shape: torch.Size
    places: tuple[int, ...]
    index: Tensor
    inside: Tensor
    padded: Tensor

    def read(self, x: Tensor) -> Tensor:
        """What each window of x (..., *S) sees (..., P, K)."""
        return x.flatten(-len(self.shape))[..., self.index]

    def add(self, dseen: Tensor) -> Tensor:
        """The gradient (..., *S) of what was read: each element sums those of all windows that see it."""
        dx = dseen.new_zeros(*dseen.shape[:-2], self.shape.numel())
        return dx.index_add(-1, self.index.flatten(), dseen.flatten(-2)).reshape(*dseen.shape[:-2], *self.shape)


def sliding(
    x: Tensor, axes: int, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes = 1, ceil_mode: bool = False
) -> Windows:
    """Windows of one kernel on the last `axes` axes of x, from the start of the padding on, one stride apart.

    As many as fit, floor((S + 2 padding - dilation (kernel - 1) - 1) / stride) + 1 an axis. With `ceil_mode` one
    more where a rest is left, but none that starts behind the last element. Without `stride` it is the kernel.
    """
    kernels, paddings, dilations = (per_axis(size, axes) for size in (kernel, padding, dilation))
    strides = kernels if stride is None or stride in ((), []) else per_axis(stride, axes)
    tables = []
    for n, k, s, p, d in zip(x.shape[-axes:], kernels, strides, paddings, dilations, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        places = room // s + 1
        if ceil_mode and room % s and places * s < n + p:
            places += 1
        first = torch.arange(places, device=x.device)[:, None] * s - p  # (P, 1)
        seen = first + torch.arange(k, device=x.device) * d  # (P, K)
        tables.append((n, seen, (seen >= 0) & (seen < n), seen < n + p))
    return _product(tables)


def adaptive(x: Tensor, axes: int, output_size: Sizes) -> Windows:
    """Windows that divide the last `axes` axes of x into the given number of parts, None for one an element.

    Part i of O on an axis of n elements goes from floor(i n / O) to ceil((i + 1) n / O): parts may overlap.
    """
    sizes = [None] * axes if output_size is None else per_axis(output_size, axes)
    tables = []
    for n, size in zip(x.shape[-axes:], sizes, strict=True):
        o = n if size is None else size
        i = torch.arange(o, device=x.device)[:, None]  # (P, 1)
        first = torch.div(i * n, o, rounding_mode="floor")
        end = torch.div((i + 1) * n + o - 1, o, rounding_mode="floor")
        seen = first + torch.arange(int((end - first).max()), device=x.device)  # (P, K)
        tables.append((n, seen, seen < end, seen < end))
    return _product(tables)


def per_axis(size: Sizes, axes: int) -> list[int]:
    sizes = [size] if isinstance(size, int) else list(size or [])
    return sizes * axes if len(sizes) == 1 else sizes


def _product(tables: list[tuple[int, Tensor, Tensor, Tensor]]) -> Windows:
    """The windows on all axes from those on each: every place of one axis with every place of the next."""
    places = tuple(len(seen) for _, seen, *_ in tables)
    index = torch.zeros_like(tables[0][1][:1, :1])  # (1, 1)
    inside = padded = torch.ones_like(index, dtype=torch.bool)
    for n, seen, real, near in tables:
        first = torch.where(real, seen, n - 1).amin(1, keepdim=True)  # (P, 1)
        index = _pairs(index) * n + torch.where(real, seen, first)[:, None]  # (P, P', K, K')
        inside, padded = _pairs(inside) & real[:, None], _pairs(padded) & near[:, None]
        index, inside, padded = (table.flatten(2).flatten(0, 1) for table in (index, inside, padded))  # (P P', K K')
    return Windows(torch.Size(n for n, *_ in tables), places, index, inside, padded)


def _pairs(table: Tensor) -> Tensor:
    return table[:, None, :, None]  # (P, 1, K, 1), to meet (P', 1, K')
