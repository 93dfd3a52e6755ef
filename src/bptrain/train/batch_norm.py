"""Batch normalization over a batch whose rows are divided among processes."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

SIGNATURE = inspect.signature(F.batch_norm)


class GlobalBatchNorm(TorchFunctionMode):
    """Inside, F.batch_norm in training takes mean and variance over the rows of all ranks, on any device.

    y = (x - mean) / sqrt(variance + eps), where mean = sum of x / n and variance = sum of (x - mean)^2 / n; both sums
    are added up over the ranks, and so are their gradients on the way back. torch.nn.SyncBatchNorm does the same on
    GPUs alone.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = arguments(*args, **kwargs) if function is F.batch_norm else {}
        return _normalized(**given) if given.get("training") else function(*args, **kwargs)


def arguments(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Those of a call of F.batch_norm by name."""
    bound = SIGNATURE.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def _normalized(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    x = input.to(torch.promote_types(input.dtype, torch.float32))  # in which F.batch_norm computes
    axes, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
    places = x.new_tensor([x.numel() / x.shape[1]])
    sums = _Sum.apply(torch.cat([x.sum(axes), places]))  # (C + 1,)
    n, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
    centred = x - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(axes)) / n  # (C,)
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
        running_var.lerp_((variance.detach() * n / (n - 1)).to(running_var.dtype), momentum)
    y = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        y = y * weight.view(shape)
    if bias is not None:
        y = y + bias.view(shape)
    return y.to(input.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all ranks, on each of them: y = sum of x_r, so that dx_r = sum of dy_r."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _added(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        return _added(dy)


def _added(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
