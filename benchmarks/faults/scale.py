"""Gradients that are right but for their size or sign."""

from __future__ import annotations

import torch
from torch.autograd import Function

from faults.fault import in_backward
from faults.network import perceptron, rows


class Square(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * x * dy


class ThousandthTooLong(Square):
    """A square's gradient that is 0.1 % too long."""

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 1.001 * (2 * x * dy)


class WithoutTwo(Square):
    """A square's gradient without the factor 2."""

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return x * dy


class OtherSign(Square):
    """A square's gradient with the other sign."""

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return -2 * x * dy


class Offset(Square):
    """A square's gradient with 0.0001 added to each element."""

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * x * dy + 1e-4


class Normalized(Square):
    """A square's gradient normalized to length 1."""

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return torch.nn.functional.normalize(2 * x * dy, dim=-1)


class ThousandthInSingle(Square):
    """A square's gradient that is 0.1 % too long in float32 alone."""

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * x * dy * (1.001 if dy.dtype is torch.float32 else 1)


class Centred(Function):
    """x less the mean over the batch."""

    @staticmethod
    def forward(ctx, x):
        return x - x.mean(0)

    @staticmethod
    def backward(ctx, dy):
        return dy - dy.mean(0)


class SumForMean(Centred):
    """Subtracts the sum over the batch where the mean belongs."""

    @staticmethod
    def backward(ctx, dy):
        return dy - dy.sum(0)


class MeanOfOtherSize(Centred):
    """Divides by the number of features where the size of the batch belongs."""

    @staticmethod
    def backward(ctx, dy):
        return dy - dy.sum(0) / dy.shape[1]


FAULTS = [
    in_backward(bad, perceptron(), rows(7, 5))
    for bad in (
        ThousandthTooLong, WithoutTwo, OtherSign, Offset, Normalized, ThousandthInSingle, SumForMean, MeanOfOtherSize
    )
]  # fmt: skip
