"""Max pooling in small windows that do not overlap, as calls on elements that a compiler fuses with those around it.

Inductor's own keeps the place of each maximum as a 64-bit number, and adds up gradients by it one after the other: in a
small CNN on images of 28x28 that was half of a step. Here the way back compares the values once more. Values, ties
and NaN are torch's: the first of the largest gets the gradient, and so does the last NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST = 9  # places in a window, of which each is compared with the others
_Sizes = Sequence[int]


def _pool(
    x: Tensor, kernel: _Sizes, stride: _Sizes = (), padding: _Sizes = (0,), dilation: _Sizes = (1,), ceil: bool = False
) -> Any:
    """(*, H, W) -> the maxima and their places, both (*, H // h, W // w); NotImplemented for other windows."""
    if not _side_by_side(kernel, stride, padding, dilation, ceil):
        return NotImplemented
    places = torch.arange(x.shape[-2] * x.shape[-1], device=x.device).view(x.shape[-2:])
    best, *others = _windows(x, kernel)
    place, *elsewhere = (p.expand(best.shape) for p in _windows(places, kernel))
    for value, there in zip(others, elsewhere, strict=True):
        larger = _larger(value, best)
        best, place = torch.where(larger, value, best), torch.where(larger, there, place)
    return best, place


def _back(
    dy: Tensor, x: Tensor, kernel: _Sizes, stride: _Sizes, padding: _Sizes, dilation: _Sizes, ceil: bool, _: Tensor
) -> Any:
    """dy (*, H // h, W // w) -> dx (*, H, W)"""
    if not _side_by_side(kernel, stride, padding, dilation, ceil):
        return NotImplemented
    best, *others = _windows(x, kernel)
    largest = [torch.ones_like(best, dtype=torch.bool)]  # for each place of a window, whether the maximum is there
    for value in others:
        larger = _larger(value, best)
        best = torch.where(larger, value, best)
        largest = [*(mask & ~larger for mask in largest), larger]
    shares, width = [torch.where(mask, dy, 0.0) for mask in largest], _pair(kernel)[1]
    lines = [torch.stack(shares[i : i + width], -1).flatten(-2) for i in range(0, len(shares), width)]  # (*, H // h, W)
    dx = torch.stack(lines, -2).flatten(-3, -2)
    return F.pad(dx, (0, x.shape[-1] - dx.shape[-1], 0, x.shape[-2] - dx.shape[-2]))  # what no window holds


def _windows(x: Tensor, kernel: _Sizes) -> list[Tensor]:
    """(*, H, W) -> for each place of a window, row by row, what stands there (*, H // h, W // w)."""
    (h, w), (rows, columns) = _pair(kernel), x.shape[-2:]
    return [x[..., i : rows // h * h : h, j : columns // w * w : w] for i in range(h) for j in range(w)]


def _larger(x: Tensor, best: Tensor) -> Tensor:
    return (x > best) | x.isnan()


def _side_by_side(kernel: _Sizes, stride: _Sizes, padding: _Sizes, dilation: _Sizes, ceil: bool) -> bool:
    (h, w), plain = _pair(kernel), not any(padding) and all(gap == 1 for gap in dilation) and not ceil
    return plain and _pair(stride or kernel) == (h, w) and h * w <= LARGEST


def _pair(sizes: _Sizes) -> tuple[int, int]:
    return sizes[0], sizes[-1]


ELEMENTWISE: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.max_pool2d_with_indices.default: _pool,
    torch.ops.aten.max_pool2d_with_indices_backward.default: _back,
}
