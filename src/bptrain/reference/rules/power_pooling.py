"""Power-average pooling: the p-norm of each window."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.average_pooling import average, average_gradient
from bptrain.reference.rules.max_pooling import distinct, largest, largest_gradient, ties
from bptrain.reference.rules.window import Sizes, sliding


class LPPool(Rule):
    """y_p = s_p^(1/q), s_p = sum_k x(s p + k)^q with q = norm_type, x ([B,] C, *S), y ([B,] C, *P).

    Not a norm for all x: torch takes powers of x, not of |x|, so that a negative s with an odd q gives NaN.
    A last window of `ceil_mode` that reaches beyond the end counts the mean of its elements for those missing.
    For q = inf it is the largest |x|, for q = -inf the smallest.
    Derivation. ds = dy s^(1/q - 1) / q and dx_j = sum of ds q x_j^(q-1) over the windows that see j; for q = inf all
    of dy goes to the first winner, times the sign of its x.
    Convention: ds is 0 at s = 0, since torch puts sign(s) relu(|s|) for s.
    Source: torch.nn.LPPool2d; Sermanet, Chintala and LeCun, arXiv 1204.3968 (2012).
    """

    axes: ClassVar[int]

    @classmethod
    def cases(cls) -> Iterable[Case]:
        x = distinct(2, 3, *(5, 7, 4)[: cls.axes]) + 0.05
        yield case("squares", x - 3.05, 2, 2)
        yield case("unbatched", x[0], 3, 2)
        yield case("overlap", x, 1.5, 3, 2)
        yield case("sums of any sign", x - 3.05, 1, 2, 1)
        yield case("tuples", x, 0.5, *_tuples(cls.axes))
        yield case("a window beyond the end", x, 2.0, 2, 3, True)
        yield case("largest", x - 3.03, math.inf, 2)
        yield case("smallest", x - 3.03, -math.inf, 2, ceil_mode=True)
        yield case("sums of zero", torch.zeros_like(x), 1, 2, smooth=False)
        yield case("zeros and others", (x - 2).relu(), 2, 2, smooth=False)
        yield case("ties", torch.randint(-1, 2, x.shape).float(), math.inf, 3, 1, smooth=False)

    @classmethod
    def kinks(
        cls, input: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes = None, ceil_mode: bool = False
    ) -> int:
        windows = sliding(input, cls.axes, kernel_size, stride, 0, ceil_mode=ceil_mode)
        if math.isinf(norm_type):
            return ties(input.abs() if norm_type > 0 else -input.abs(), windows)
        return int(((windows.read(input**norm_type) * windows.inside).sum(-1) == 0).sum())

    @classmethod
    def forward(
        cls,
        input: Tensor,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes = None,
        ceil_mode: bool = False,
    ) -> tuple[Tensor, Any]:
        windows = sliding(input, cls.axes, kernel_size, stride, 0, ceil_mode=ceil_mode)
        if math.isinf(norm_type):
            sign = 1 if norm_type > 0 else -1
            y, _, winners = largest(sign * input.abs(), windows)
            return sign * y, (input, norm_type, None, winners)
        size = windows.index.shape[1]
        mean, cache = average(input**norm_type, windows, windows.inside.sum(-1))
        s = mean * size
        return s ** (1 / norm_type), (input, norm_type, (s, size), cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        x, q, sums, cache = cache
        if sums is None:
            return largest_gradient(cache, dy) * x.sign()
        s, size = sums
        ds = torch.where(s == 0, 0, dy * s ** (1 / q - 1))
        return average_gradient(cache, ds * size) * x ** (q - 1)


def _tuples(axes: int) -> tuple[Any, Any]:
    """A kernel and a stride for each axis; over signals torch multiplies by the kernel, which has to be a number."""
    return (3, (2,)) if axes == 1 else ((3, 1, 2)[:axes], (1, 2, 1)[:axes])


class LPPool1d(LPPool, functions=[F.lp_pool1d]):
    """`LPPool` over signals."""

    axes = 1


class LPPool2d(LPPool, functions=[F.lp_pool2d]):
    """`LPPool` over images."""

    axes = 2


class LPPool3d(LPPool, functions=[F.lp_pool3d]):
    """`LPPool` over volumes."""

    axes = 3
