"""Gradients of which some elements are wrong."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.autograd import Function

from faults.fault import in_backward
from faults.network import Applied, Wide, perceptron, rows


class Sine(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * x.cos()


class OneOfThousands(Sine):
    """One of 3,000 elements is 10 times too large."""

    @staticmethod
    def backward(ctx, dy):
        dx = Sine.backward(ctx, dy)
        dx[3, 417] *= 10
        return dx


class OneSlightly(Sine):
    """One of 3,000 elements is 1 % too large."""

    @staticmethod
    def backward(ctx, dy):
        dx = Sine.backward(ctx, dy)
        dx[3, 417] *= 1.01
        return dx


class OneNaN(Sine):
    """One element is NaN."""

    @staticmethod
    def backward(ctx, dy):
        dx = Sine.backward(ctx, dy)
        dx[2, 3] = math.nan
        return dx


class LastRowMissing(Sine):
    """The last row of the batch gets no gradient."""

    @staticmethod
    def backward(ctx, dy):
        dx = Sine.backward(ctx, dy)
        dx[-1] = 0
        return dx


class LastColumnMissing(Sine):
    """The last feature gets no gradient, as where a block does not divide the width."""

    @staticmethod
    def backward(ctx, dy):
        dx = Sine.backward(ctx, dy)
        dx[:, 4:] = 0
        return dx


class RowsPermuted(Sine):
    """The rows of the gradient are in the opposite order."""

    @staticmethod
    def backward(ctx, dy):
        return Sine.backward(ctx, dy).flip(0)


class ColumnsShifted(Sine):
    """Each feature gets the gradient of the one before it: an index off by one."""

    @staticmethod
    def backward(ctx, dy):
        return Sine.backward(ctx, dy).roll(1, 1)


class AllZero(Sine):
    """All of the gradient is zero."""

    @staticmethod
    def backward(ctx, dy):
        return torch.zeros_like(dy)


class AllZeroOfLittle(Sine):
    """All of a gradient of about 1e-6 is zero."""

    @staticmethod
    def backward(ctx, dy):
        return torch.zeros_like(dy)


class NotReturned(Sine):
    """The backward returns None."""

    @staticmethod
    def backward(ctx, dy):
        return None


class Downscaled(nn.Module):
    """The Function's network with an output of about 1e-6, as a mean over a large batch would have."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.first, self.layer, self.last = nn.Linear(5, 6), Applied(function), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1e-6 * self.last(self.layer(torch.tanh(self.first(x))))


FAULTS = [
    in_backward(OneOfThousands, Wide, rows(5, 4)),
    in_backward(OneSlightly, Wide, rows(5, 4)),
    in_backward(OneNaN, perceptron(), rows(7, 5)),
    in_backward(LastRowMissing, perceptron(), rows(7, 5)),
    in_backward(LastColumnMissing, perceptron(), rows(7, 5)),
    in_backward(RowsPermuted, perceptron(), rows(7, 5)),
    in_backward(ColumnsShifted, perceptron(), rows(7, 5)),
    in_backward(AllZero, perceptron(), rows(7, 5)),
    in_backward(AllZeroOfLittle, Downscaled, rows(7, 5)),
    in_backward(NotReturned, perceptron(), rows(7, 5)),
]
