"""Average pooling: the mean of each window."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.window import Sizes, Windows, adaptive, sliding


def average(x: Tensor, windows: Windows, divisor: Tensor | int) -> tuple[Tensor, Any]:
    """The sum of each window of x divided by `divisor`, a number or one for each window, and its cache."""
    y = torch.where(windows.inside, windows.read(x), 0).sum(-1) / divisor  # (..., P)
    return y.reshape(*y.shape[:-1], *windows.places), (windows, divisor)


def average_gradient(cache: Any, dy: Tensor) -> Tensor:
    """dx of `average`: dy / divisor to each element that a window sees."""
    windows, divisor = cache
    share = dy.flatten(-len(windows.places)) / divisor  # (..., P)
    return windows.add(torch.where(windows.inside, share[..., None], 0))


class AvgPool(Rule):
    """y_p = sum_k x(s p + k - padding) / n_p, x ([B,] C, *S), y ([B,] C, *P), with zeros in the padding.

    The divisor n_p is `divisor_override`, or counts the elements that window p sees: with those in the padding
    if `count_include_pad`, never those beyond it (which a last window of `ceil_mode` may reach).
    Derivation. dy_p / dx_j = 1 / n_p if p sees j, so dx_j = sum of dy_p / n_p over the windows that see j.
    """

    axes: ClassVar[int]

    @classmethod
    def cases(cls) -> Iterable[Case]:
        x = torch.randn(2, 3, *(5, 7, 4)[: cls.axes])
        yield case("window", x, 2)
        yield case("unbatched", x[0], 2)
        yield case("overlap", x, 3, 2)
        yield case("padding", x, 3, 1, 1)
        yield case("padding not counted", x, 3, 1, 1, count_include_pad=False)
        yield case("beyond the end", x, 4, 2, 1, True)
        yield case("beyond the end, not counted", x, 4, 2, 1, True, False)
        yield case("no window behind the end", x, 1, 3, ceil_mode=True)
        yield case("tuples", x, (3, 1, 2)[: cls.axes], (1, 2, 1)[: cls.axes], (1, 0, 1)[: cls.axes])
        if cls.axes > 1:
            yield case("divisor", x, 4, 2, 1, True, True, 3)

    @classmethod
    def forward(
        cls,
        input: Tensor,
        kernel_size: Sizes,
        stride: Sizes = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> tuple[Tensor, Any]:
        windows = sliding(input, cls.axes, kernel_size, stride, padding, ceil_mode=ceil_mode)
        counted = windows.padded if count_include_pad else windows.inside
        return average(input, windows, counted.sum(-1) if divisor_override is None else divisor_override)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return average_gradient(cache, dy)


class AvgPool1d(AvgPool, functions=[F.avg_pool1d]):
    """`AvgPool` over signals."""

    axes = 1


class AvgPool2d(AvgPool, functions=[F.avg_pool2d]):
    """`AvgPool` over images."""

    axes = 2


class AvgPool3d(AvgPool, functions=[F.avg_pool3d]):
    """`AvgPool` over volumes."""

    axes = 3


class AdaptiveAvgPool(Rule):
    """y_p = the mean of part p, x ([B,] C, *S) divided into `output_size` parts, which may overlap.

    Derivation. As for `AvgPool`, with n_p the number of elements of part p.
    """

    axes: ClassVar[int]

    @classmethod
    def cases(cls) -> Iterable[Case]:
        x = torch.randn(2, 3, *(5, 7, 4)[: cls.axes])
        yield case("overlap", x, 3)
        yield case("unbatched", x[0], 2)
        yield case("one part", x, 1)
        yield case("more parts than elements", x, 8)
        yield case("tuple", x, (2, 3, 1)[: cls.axes])
        if cls.axes > 1:
            yield case("as it is", x, (None, 3, 1)[: cls.axes])

    @classmethod
    def forward(cls, input: Tensor, output_size: Sizes) -> tuple[Tensor, Any]:
        windows = adaptive(input, cls.axes, output_size)
        return average(input, windows, windows.inside.sum(-1))

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return average_gradient(cache, dy)


class AdaptiveAvgPool1d(AdaptiveAvgPool, functions=[F.adaptive_avg_pool1d]):
    """`AdaptiveAvgPool` over signals."""

    axes = 1


class AdaptiveAvgPool2d(AdaptiveAvgPool, functions=[F.adaptive_avg_pool2d]):
    """`AdaptiveAvgPool` over images."""

    axes = 2


class AdaptiveAvgPool3d(AdaptiveAvgPool, functions=[F.adaptive_avg_pool3d]):
    """`AdaptiveAvgPool` over volumes."""

    axes = 3
