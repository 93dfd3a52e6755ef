"""Max unpooling: elements put back to where a max pooling found them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.window import Sizes, per_axis

POOLS: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class MaxUnpool(Rule):
    """y(indices_p) = x_p and 0 elsewhere, x and indices ([B,] C, *P), y ([B,] C, *S), an index counts in the plane *S.

    An axis of n elements becomes one of (n - 1) stride + kernel - 2 padding, or as `output_size` says.
    Derivation. dx_p = dy(indices_p), since y is x_p there.
    Contract where several x_p have one index, as windows that overlap give it: the last is seen, and torch gives dy to
    each of them.
    """

    axes: ClassVar[int]

    @classmethod
    def cases(cls) -> Iterable[Case]:
        pool, x = POOLS[cls.axes], torch.randn(2, 3, *(5, 7, 4)[: cls.axes])
        shape = tuple(x.shape[2:])
        yield case("window", *pool(torch.randn(2, 3, *(4, 6, 2)[: cls.axes]), 2, return_indices=True), 2)
        yield case("unbatched", *pool(x[0], 2, return_indices=True), 2, None, 0, shape)
        yield case("whole size", *pool(x, 2, return_indices=True), [2] * cls.axes, output_size=x.shape)
        yield case("padding", *pool(x, 3, 3, 1, return_indices=True), 3, padding=1, output_size=shape)
        kernel, stride = (2, 1, 3)[: cls.axes], (3, 2, 3)[: cls.axes]
        yield case("tuples", *pool(x, kernel, stride, return_indices=True), kernel, stride, output_size=shape)
        y, index = pool(x, 3, 1, return_indices=True)
        yield case("one index for many", y, index, 3, 1, smooth=False)

    @classmethod
    def forward(
        cls,
        input: Tensor,
        indices: Tensor,
        kernel_size: Sizes,
        stride: Sizes = None,
        padding: Sizes = 0,
        output_size: Sequence[int] | None = None,
    ) -> tuple[Tensor, Any]:
        if output_size is None:
            settings = [per_axis(n, cls.axes) for n in (kernel_size, stride or kernel_size, padding)]
            steps = zip(input.shape[-cls.axes :], *settings, strict=True)
            output_size = [(n - 1) * s + k - 2 * p for n, k, s, p in steps]
        shape = tuple(output_size)[-cls.axes :]
        index = indices.flatten(-cls.axes)  # (..., P)
        y = input.new_zeros(*index.shape[:-1], math.prod(shape)).scatter(-1, index, input.flatten(-cls.axes))
        return y.reshape(*y.shape[:-1], *shape), (index, input.shape)

    @classmethod
    def contract(cls, input: Tensor, indices: Tensor, *args: Any, **kwargs: Any) -> str:
        planes = indices.flatten(-cls.axes).reshape(-1, math.prod(indices.shape[-cls.axes :])).sort(-1).values
        twice = (planes[:, 1:] == planes[:, :-1]).any()
        return "elements of one index get the gradient of that place each" if twice else ""

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        index, shape = cache
        return dy.reshape(*index.shape[:-1], -1).gather(-1, index).reshape(shape)


class MaxUnpool1d(MaxUnpool, functions=[F.max_unpool1d]):
    """`MaxUnpool` over signals."""

    axes = 1


class MaxUnpool2d(MaxUnpool, functions=[F.max_unpool2d]):
    """`MaxUnpool` over images."""

    axes = 2


class MaxUnpool3d(MaxUnpool, functions=[F.max_unpool3d]):
    """`MaxUnpool` over volumes."""

    axes = 3
