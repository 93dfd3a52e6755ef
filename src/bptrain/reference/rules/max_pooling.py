"""Max pooling: the largest element of each window."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.window import Sizes, Windows, adaptive, sliding


def largest(x: Tensor, windows: Windows) -> tuple[Tensor, Tensor, Any]:
    """The largest element of each window of x, where it stands in the plane of x, and what the gradient needs."""
    seen = windows.read(x)  # (..., P, K)
    winner = seen.argmax(-1, keepdim=True)  # (..., P, 1)
    shape = (*seen.shape[:-2], *windows.places)
    index = windows.index.expand(seen.shape).gather(-1, winner).reshape(shape)
    return seen.gather(-1, winner).reshape(shape), index, (windows, winner)


def largest_gradient(cache: Any, dy: Tensor) -> Tensor:
    """dx of `largest`: to the winner of each window goes that window's dy."""
    windows, winner = cache
    won = winner == torch.arange(windows.index.shape[1], device=dy.device)  # (..., P, K)
    return windows.add(torch.where(won, dy.reshape(winner.shape), 0))


def ties(x: Tensor, windows: Windows) -> int:
    """How many windows have more than one largest element; what stands for one outside is no other element."""
    seen = windows.read(x)  # (..., P, K)
    best = seen.max(-1, keepdim=True)
    other = windows.index != windows.index.expand(seen.shape).gather(-1, best.indices)
    return int(((seen == best.values) & other).any(-1).sum())


def distinct(*shape: int) -> Tensor:
    """Numbers in random order, no two so close that a difference quotient would swap them."""
    return torch.randperm(math.prod(shape)).reshape(shape) / 10


class MaxPool(Rule):
    """y_p = max_k x(s p + d k - padding), x ([B,] C, *S), y ([B,] C, *P): padding is never the largest.

    Derivation. y_p = x_j for the winner j, so dx_j sums the dy_p of all windows that j wins; the others get 0.
    Convention at ties: the first of the largest, row by row, wins all of dy.
    """

    axes: ClassVar[int]
    indices: ClassVar[bool] = False  # whether the result is (y, index of the winner in the plane of x)

    @classmethod
    def cases(cls) -> Iterable[Case]:
        x = distinct(2, 3, *(5, 7, 4)[: cls.axes])
        yield case("window", x, 2)
        yield case("unbatched", x[0], 2)
        yield case("overlap", x, 3, 2)
        yield case("padding", x, 3, 1, 1)
        yield case("dilation", x, 2, 1, 1, 3)
        yield case("a window beyond the end", x, 2, ceil_mode=True)
        yield case("no window behind the end", x, 1, 3, ceil_mode=True)
        yield case("tuples", x, (3, 1, 2)[: cls.axes], (1, 2, 1)[: cls.axes], (1, 0, 1)[: cls.axes])
        yield case("ties", torch.randint(2, x.shape).float(), 3, 1, 1, smooth=False)

    @classmethod
    def kinks(
        cls,
        input: Tensor,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        ceil_mode: bool,
        **_: Any,
    ) -> int:
        return ties(input, sliding(input, cls.axes, kernel_size, stride, padding, dilation, ceil_mode))

    @classmethod
    def forward(
        cls,
        input: Tensor,
        kernel_size: Sizes,
        stride: Sizes = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> tuple[Any, Any]:
        y, index, cache = largest(input, sliding(input, cls.axes, kernel_size, stride, padding, dilation, ceil_mode))
        return ((y, index) if cls.indices else y), cache

    @staticmethod
    def backward(cache: Any, dy: Any) -> Tensor:
        return largest_gradient(cache, dy[0] if isinstance(dy, tuple) else dy)


class MaxPool1d(MaxPool, functions=[F.max_pool1d, torch.max_pool1d]):
    """`MaxPool` over signals."""

    axes = 1


class MaxPool2d(MaxPool, functions=[F.max_pool2d, torch.max_pool2d]):
    """`MaxPool` over images."""

    axes = 2


class MaxPool3d(MaxPool, functions=[F.max_pool3d, torch.max_pool3d]):
    """`MaxPool` over volumes."""

    axes = 3


class MaxPool1dIndices(MaxPool, functions=[F.max_pool1d_with_indices, torch.max_pool1d_with_indices]):
    """`MaxPool` over signals, with `return_indices`."""

    axes, indices = 1, True


class MaxPool2dIndices(MaxPool, functions=[F.max_pool2d_with_indices]):
    """`MaxPool` over images, with `return_indices`."""

    axes, indices = 2, True


class MaxPool3dIndices(MaxPool, functions=[F.max_pool3d_with_indices]):
    """`MaxPool` over volumes, with `return_indices`."""

    axes, indices = 3, True


class AdaptiveMaxPool(Rule):
    """y_p = the largest x of part p, x ([B,] C, *S) divided into `output_size` parts, which may overlap.

    Derivation and convention at ties as for `MaxPool`.
    """

    axes: ClassVar[int]
    indices: ClassVar[bool] = False

    @classmethod
    def cases(cls) -> Iterable[Case]:
        x = distinct(2, 3, *(5, 7, 4)[: cls.axes])
        yield case("overlap", x, 3)
        yield case("unbatched", x[0], 2)
        yield case("one part", x, 1)
        yield case("more parts than elements", x, 8)
        yield case("tuple", x, (2, 3, 1)[: cls.axes])
        yield case("ties", torch.randint(2, x.shape).float(), 3, smooth=False)

    @classmethod
    def kinks(cls, input: Tensor, output_size: Sizes, return_indices: bool = False) -> int:
        return ties(input, adaptive(input, cls.axes, output_size))

    @classmethod
    def forward(cls, input: Tensor, output_size: Sizes, return_indices: bool = False) -> tuple[Any, Any]:
        y, index, cache = largest(input, adaptive(input, cls.axes, output_size))
        return ((y, index) if cls.indices else y), cache

    @staticmethod
    def backward(cache: Any, dy: Any) -> Tensor:
        return MaxPool.backward(cache, dy)


class AdaptiveMaxPool1d(AdaptiveMaxPool, functions=[F.adaptive_max_pool1d]):
    """`AdaptiveMaxPool` over signals."""

    axes = 1


class AdaptiveMaxPool2d(AdaptiveMaxPool, functions=[F.adaptive_max_pool2d]):
    """`AdaptiveMaxPool` over images."""

    axes = 2


class AdaptiveMaxPool3d(AdaptiveMaxPool, functions=[F.adaptive_max_pool3d]):
    """`AdaptiveMaxPool` over volumes."""

    axes = 3


ADAPTIVE_INDICES = [F.adaptive_max_pool1d_with_indices, torch.adaptive_max_pool1d]


class AdaptiveMaxPool1dIndices(AdaptiveMaxPool, functions=ADAPTIVE_INDICES):
    """`AdaptiveMaxPool` over signals, with `return_indices`."""

    axes, indices = 1, True


class AdaptiveMaxPool2dIndices(AdaptiveMaxPool, functions=[F.adaptive_max_pool2d_with_indices]):
    """`AdaptiveMaxPool` over images, with `return_indices`."""

    axes, indices = 2, True


class AdaptiveMaxPool3dIndices(AdaptiveMaxPool, functions=[F.adaptive_max_pool3d_with_indices]):
    """`AdaptiveMaxPool` over volumes, with `return_indices`."""

    axes, indices = 3, True
