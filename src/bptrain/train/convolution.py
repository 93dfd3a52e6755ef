"""Convolutions of stacked networks, each by the kernel that it has alone.

vmap makes one convolution of M networks with as many groups. The kernels for groups add up the gradient of a weight
term by term in float32, and lose digits that the check misses; with many channels they are slow too. Here M calls stand
side by side in the program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

DIMENSIONS = {torch.conv1d: 1, F.conv1d: 1, torch.conv2d: 2, F.conv2d: 2}
Options = tuple[list[int], list[int], list[int], int]  # stride, padding, dilation, groups


class OneByOne(TorchFunctionMode):
    """Inside, vmap takes convolutions of signals and images apart."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in DIMENSIONS:
            return _convolved(function, *args, **kwargs)
        return function(*args, **kwargs)


def _convolved(
    function: Callable[..., Tensor],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    dimensions = DIMENSIONS[function]
    steps, gaps = (_each(value, dimensions) for value in (stride, dilation))
    spans = [gap * (window - 1) for gap, window in zip(gaps, weight.shape[2:], strict=True)]
    if input.dim() != dimensions + 2 or (padding == "same" and any(span % 2 for span in spans)):
        return function(input, weight, bias, stride, padding, dilation, groups)
    if isinstance(padding, str):
        padding = [span // 2 if padding == "same" else 0 for span in spans]
    return _Convolution.apply(input, weight, bias, (steps, _each(padding, dimensions), gaps, groups))


def _each(value: int | Sequence[int], dimensions: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * dimensions if len(values) == 1 else values


class _Convolution(torch.autograd.Function):
    """(B, C, *L), (O, C, *K), (O,) or None -> (B, O, *T)"""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, options: Options) -> Tensor:
        *space, groups = options
        return torch.ops.aten.convolution.default(x, weight, bias, *space, False, [0] * len(space[0]), groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, weight, bias, ctx.options = inputs
        ctx.save_for_backward(x, weight)
        ctx.bias = bias is not None

    @staticmethod
    def backward(ctx: Any, *dy: Tensor) -> tuple[Tensor | None, ...]:
        mask = (ctx.needs_input_grad[0], True, ctx.bias)
        dx, dweight, dbias = _Backward.apply(dy[0], *ctx.saved_tensors, ctx.options, mask)
        return dx if mask[0] else None, dweight, dbias if mask[2] else None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple, *args: Any) -> tuple[Tensor, int]:
        parts = [_Convolution.apply(*part) for part in _apart(info.batch_size, in_dims, args)]
        return torch.stack(parts), 0


class _Backward(torch.autograd.Function):
    """The gradients of input, weight and bias; where `mask` wants none, a zero."""

    @staticmethod
    def forward(
        dy: Tensor, x: Tensor, weight: Tensor, options: Options, mask: tuple[bool, bool, bool]
    ) -> tuple[Tensor, ...]:
        *space, groups = options
        bias = [weight.shape[0]] if mask[2] else None
        found = torch.ops.aten.convolution_backward.default(
            dy, x, weight, bias, *space, False, [0] * len(space[0]), groups, list(mask)
        )
        return tuple(dy.new_zeros(()) if g is None else g for g in found)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None: ...

    @staticmethod
    def vmap(info: Any, in_dims: tuple, *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        parts = [_Backward.apply(*part) for part in _apart(info.batch_size, in_dims, args)]
        return tuple(map(torch.stack, zip(*parts, strict=True))), (0, 0, 0)


def _apart(size: int, in_dims: tuple, args: tuple) -> list[list[Any]]:
    """The arguments of each of `size` calls, those with a dimension in `in_dims` cut along it."""
    return [
        [a.select(d, i) if isinstance(d, int) else a for a, d in zip(args, in_dims, strict=True)] for i in range(size)
    ]
