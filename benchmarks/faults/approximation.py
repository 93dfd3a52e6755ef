"""Gradients that are nearly right: another function's, one in too coarse a dtype, one that fails where x is large."""

from __future__ import annotations

import math

import torch
from torch.autograd import Function

from faults.fault import in_backward
from faults.network import Wide, perceptron, rows


class GELU(Function):
    """x Phi(x), Phi the normal distribution's function."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        density = torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return dy * (0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * density)


class GELUByTanh(GELU):
    """The gradient of GELU's approximation by tanh for the exact function."""

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        scale = math.sqrt(2 / math.pi)
        t = torch.tanh(scale * (x + 0.044715 * x**3))
        return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * scale * (1 + 3 * 0.044715 * x * x))


class GELUWithoutDensity(GELU):
    """GELU without the term of the density."""

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


class Tanh(Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, dy):
        _, y = ctx.saved_tensors
        return dy * (1 - y * y)


class TanhOfInput(Tanh):
    """1 - x^2 for 1 - y^2 in tanh's backward: the input where the output belongs."""

    @staticmethod
    def backward(ctx, dy):
        x, _ = ctx.saved_tensors
        return dy * (1 - x * x)


class TanhOfPade(Tanh):
    """The gradient of a rational approximation of tanh, x (27 + x^2) / (27 + 9 x^2)."""

    @staticmethod
    def backward(ctx, dy):
        x, _ = ctx.saved_tensors
        y = (x * (27 + x * x) / (27 + 9 * x * x)).clamp(-1, 1)
        return dy * (1 - y * y)


class TanhTruncated(Tanh):
    """The gradient of the output is rounded to bfloat16 on the way in."""

    @staticmethod
    def backward(ctx, dy):
        _, y = ctx.saved_tensors
        return dy.bfloat16().to(dy.dtype) * (1 - y * y)


class TanhSavedCoarsely(Tanh):
    """The output is saved in float16."""

    @staticmethod
    def backward(ctx, dy):
        _, y = ctx.saved_tensors
        return dy * (1 - y.half().to(dy.dtype) ** 2)


class Softplus(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy / (1 + torch.exp(-x))


class SoftplusCut(Softplus):
    """Softplus' gradient is 1 for x > 4, where it is 0.98."""

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * torch.where(x > 4, 1.0, 1 / (1 + torch.exp(-x)))


class Linear(Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        return dy @ weight, dy.T @ x


class LinearCoarseSum(Linear):
    """The weight's gradient is summed over the batch in bfloat16."""

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        total = torch.zeros_like(weight, dtype=torch.bfloat16)
        for a, b in zip(dy, x, strict=True):
            total += torch.outer(a, b)
        return dy @ weight, total.to(weight.dtype)


FAULTS = [
    in_backward(GELUByTanh, perceptron(), rows(7, 5)),
    in_backward(GELUWithoutDensity, perceptron(), rows(7, 5)),
    in_backward(TanhOfInput, perceptron(), rows(7, 5)),
    in_backward(TanhOfPade, perceptron(), rows(7, 5)),
    in_backward(TanhTruncated, perceptron(), rows(7, 5)),
    in_backward(TanhSavedCoarsely, perceptron(), rows(7, 5)),
    in_backward(SoftplusCut, Wide, rows(5, 4, scale=4.0)),
    in_backward(LinearCoarseSum, perceptron((6, 6)), rows(7, 5)),
]
