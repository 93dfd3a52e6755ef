"""Convolution and pooling whose gradients mistake padding, stride, dilation or window."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import Function

from faults.fault import in_backward
from faults.network import convolutional, rows


def taps(length: int, out: int, stride: int, dilation: int, padding: int, k: int) -> tuple[Tensor, Tensor]:
    """Which outputs meet which inputs at element k of the kernel: the positions of both."""
    outputs = torch.arange(out)
    inputs = outputs * stride + k * dilation - padding
    inside = (inputs >= 0) & (inputs < length)
    return outputs[inside], inputs[inside]


def along_input(dy: Tensor, weight: Tensor, length: int, stride: int, dilation: int, padding: int) -> Tensor:
    """A convolution's gradient of its input."""
    dx = dy.new_zeros(len(dy), weight.shape[1], length)
    for k in range(weight.shape[2]):
        outputs, inputs = taps(length, dy.shape[2], stride, dilation, padding, k)
        dx[:, :, inputs] += torch.einsum("bol,oi->bil", dy[:, :, outputs], weight[:, :, k])
    return dx


def along_weight(dy: Tensor, x: Tensor, window: int, stride: int, dilation: int, padding: int) -> Tensor:
    """A convolution's gradient of its weight."""
    elements = []
    for k in range(window):
        outputs, inputs = taps(x.shape[2], dy.shape[2], stride, dilation, padding, k)
        elements.append(torch.einsum("bol,bil->oi", dy[:, :, outputs], x[:, :, inputs]))
    return torch.stack(elements, -1)


class Convolution(Function):
    """A convolution of a signal with stride 2, dilation 2 and padding 2."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return torch.nn.functional.conv1d(x, weight, bias, stride=2, padding=2, dilation=2)

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        dx = along_input(dy, weight, x.shape[2], 2, 2, 2)
        return dx, along_weight(dy, x, weight.shape[2], 2, 2, 2), dy.sum((0, 2))


class PaddingOffByOne(Convolution):
    """The input's gradient is moved by one place: padding off by one."""

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        dx = along_input(dy, weight, x.shape[2], 2, 2, 1)
        return dx, along_weight(dy, x, weight.shape[2], 2, 2, 2), dy.sum((0, 2))


class StrideIgnored(Convolution):
    """The weight's gradient ignores the stride."""

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        dx = along_input(dy, weight, x.shape[2], 2, 2, 2)
        return dx, along_weight(dy, x, weight.shape[2], 1, 2, 2), dy.sum((0, 2))


class DilationIgnored(Convolution):
    """The weight's gradient ignores the dilation."""

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        dx = along_input(dy, weight, x.shape[2], 2, 2, 2)
        return dx, along_weight(dy, x, weight.shape[2], 2, 1, 2), dy.sum((0, 2))


class KernelFlipped(Convolution):
    """The input's gradient uses the kernel back to front."""

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        dx = along_input(dy, weight.flip(2), x.shape[2], 2, 2, 2)
        return dx, along_weight(dy, x, weight.shape[2], 2, 2, 2), dy.sum((0, 2))


class ChannelsTransposed(Convolution):
    """The input's gradient takes input channels for output channels."""

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        dx = along_input(dy, weight.transpose(0, 1), x.shape[2], 2, 2, 2)
        return dx, along_weight(dy, x, weight.shape[2], 2, 2, 2), dy.sum((0, 2))


class BiasWithoutEdge(Convolution):
    """The bias' gradient leaves out the last place of the signal."""

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        dx = along_input(dy, weight, x.shape[2], 2, 2, 2)
        return dx, along_weight(dy, x, weight.shape[2], 2, 2, 2), dy[:, :, :-1].sum((0, 2))


class Average(Function):
    """Averages over windows of 3 that meet end to end."""

    @staticmethod
    def forward(ctx, x):
        return x.unflatten(2, (-1, 3)).mean(-1)

    @staticmethod
    def backward(ctx, dy):
        return dy.repeat_interleave(3, 2) / 3


class AverageOfOtherWindow(Average):
    """Divides by the number of windows, where the size of one belongs."""

    @staticmethod
    def backward(ctx, dy):
        return dy.repeat_interleave(3, 2) / dy.shape[2]


class AverageTiled(Average):
    """Tiles the gradient, where each of its elements has to be repeated."""

    @staticmethod
    def backward(ctx, dy):
        return dy.repeat(1, 1, 3) / 3


WEIGHTS = (3, 3, 3), (3,)

FAULTS = [
    in_backward(PaddingOffByOne, convolutional(*WEIGHTS), rows(4, 2, 9)),
    in_backward(StrideIgnored, convolutional(*WEIGHTS), rows(4, 2, 9)),
    in_backward(DilationIgnored, convolutional(*WEIGHTS), rows(4, 2, 9)),
    in_backward(KernelFlipped, convolutional(*WEIGHTS), rows(4, 2, 9)),
    in_backward(ChannelsTransposed, convolutional(*WEIGHTS), rows(4, 2, 9)),
    in_backward(BiasWithoutEdge, convolutional(*WEIGHTS), rows(4, 2, 9)),
    in_backward(AverageOfOtherWindow, convolutional(), rows(4, 2, 12)),
    in_backward(AverageTiled, convolutional(), rows(4, 2, 12)),
]
