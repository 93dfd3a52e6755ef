"""Fractional max pooling: the largest element of windows that lie at random, one fraction of an element apart.

Where the windows lie is read from the call: repeated under the draws it made, on zeros, it shows the first element
of each window, since the first of equals wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.window import Sizes, per_axis


class FractionalMaxPool(Rule):
    """y_p = max_k x(start_p + k), x ([B,] C, *S), y ([B,] C, *P), with start_p drawn for each plane (B, C).

    There are as many windows as `output_size` says, or floor(output_ratio S) on an axis.
    Derivation. y_p = x_j for the winner j, so dx_j sums the dy_p of all windows that j wins.
    Convention at ties: the first of the largest, row by row, wins all of dy.
    Source: Graham, arXiv 1412.6071 (2014).
    """

    axes: ClassVar[int]
    indices: ClassVar[bool] = False  # whether the result is (y, index of the winner in the plane of x)
    pool: ClassVar[Callable]  # gives the indices too

    @classmethod
    def cases(cls) -> Iterable[Case]:
        shape = (6, 8, 7)[: cls.axes]
        x = torch.randperm(6 * torch.Size(shape).numel()).reshape(2, 3, *shape) / 10
        yield case("number of windows", x, 2, 3)
        yield case("unbatched", x[0], 2, output_size=[3, 2, 4][: cls.axes])
        yield case("ratio", x, 3, output_ratio=(0.6,) * cls.axes)
        yield case("tuples", x, (2, 3, 1)[: cls.axes], None, (0.5, 0.7, 0.9)[: cls.axes])
        samples = torch.rand(2, 3, cls.axes)
        yield case("given samples", x, 2, 3, _random_samples=samples, constant=("_random_samples",))
        yield case("ties", torch.randint(2, x.shape).float(), 2, 4, smooth=False)

    @classmethod
    def forward(
        cls,
        input: Tensor,
        kernel_size: Sizes,
        output_size: Sizes = None,
        output_ratio: tuple[float, ...] | None = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
        *,
        again: Callable,
    ) -> tuple[Any, Any]:
        zeros = torch.zeros_like(input)
        _, start = again(zeros, kernel_size, output_size, output_ratio, True, _random_samples, function=cls.pool)
        offset = torch.zeros(1, dtype=torch.long, device=input.device)
        for n, k in zip(input.shape[-cls.axes :], per_axis(kernel_size, cls.axes), strict=True):
            offset = (offset[:, None] * n + torch.arange(k, device=input.device)).flatten()  # (K)
        seen = start.flatten(-cls.axes)[..., None] + offset  # (..., P, K)
        values = input.flatten(-cls.axes).gather(-1, seen.flatten(-2)).reshape(seen.shape)
        winner = values.argmax(-1, keepdim=True)
        y, index = (t.gather(-1, winner).reshape(start.shape) for t in (values, seen))
        return ((y, index) if cls.indices else y), (input.shape, index)

    @classmethod
    def backward(cls, cache: Any, dy: Any) -> Tensor:
        shape, index = cache
        dy = dy[0] if cls.indices else dy
        dx = dy.new_zeros(*shape[: -cls.axes], shape[-cls.axes :].numel())
        return dx.scatter_add(-1, index.flatten(-cls.axes), dy.flatten(-cls.axes)).reshape(shape)


class FractionalMaxPool2d(FractionalMaxPool, functions=[F.fractional_max_pool2d], random=True):
    """`FractionalMaxPool` over images."""

    axes, pool = 2, F.fractional_max_pool2d_with_indices


class FractionalMaxPool3d(FractionalMaxPool, functions=[F.fractional_max_pool3d], random=True):
    """`FractionalMaxPool` over volumes."""

    axes, pool = 3, F.fractional_max_pool3d_with_indices


class FractionalMaxPool2dIndices(FractionalMaxPool, functions=[F.fractional_max_pool2d_with_indices], random=True):
    """`FractionalMaxPool` over images, with `return_indices`."""

    axes, indices, pool = 2, True, F.fractional_max_pool2d_with_indices


class FractionalMaxPool3dIndices(FractionalMaxPool, functions=[F.fractional_max_pool3d_with_indices], random=True):
    """`FractionalMaxPool` over volumes, with `return_indices`."""

    axes, indices, pool = 3, True, F.fractional_max_pool3d_with_indices
