"""Normalization with a backward that forgets or changes a term."""

from __future__ import annotations

import torch
from torch.autograd import Function

from faults.fault import in_backward
from faults.network import perceptron, rows


class LayerNorm(Function):
    eps = 1e-5
    axis = -1

    @classmethod
    def forward(cls, ctx, x):
        r = (x.var(cls.axis, correction=0, keepdim=True) + cls.eps).rsqrt()
        normal = (x - x.mean(cls.axis, keepdim=True)) * r
        ctx.save_for_backward(x, normal, r)
        return normal

    @classmethod
    def backward(cls, ctx, dy):
        _, normal, r = ctx.saved_tensors
        mean = dy.mean(cls.axis, keepdim=True)
        return r * (dy - mean - normal * (dy * normal).mean(cls.axis, keepdim=True))


class LayerNormWithoutMean(LayerNorm):
    """Layer norm without the term of the mean."""

    @classmethod
    def backward(cls, ctx, dy):
        _, normal, r = ctx.saved_tensors
        return r * (dy - normal * (dy * normal).mean(cls.axis, keepdim=True))


class LayerNormWithoutVariance(LayerNorm):
    """Layer norm without the term of the variance."""

    @classmethod
    def backward(cls, ctx, dy):
        _, _, r = ctx.saved_tensors
        return r * (dy - dy.mean(cls.axis, keepdim=True))


class LayerNormUnbiased(LayerNorm):
    """Layer norm with the unbiased variance in its backward, the biased one in its forward."""

    @classmethod
    def backward(cls, ctx, dy):
        x, _, _ = ctx.saved_tensors
        r = (x.var(cls.axis, correction=1, keepdim=True) + cls.eps).rsqrt()
        normal = (x - x.mean(cls.axis, keepdim=True)) * r
        mean = dy.mean(cls.axis, keepdim=True)
        return r * (dy - mean - normal * (dy * normal).mean(cls.axis, keepdim=True))


class LayerNormOtherEps(LayerNorm):
    """Layer norm with eps 1e-4 in its backward, 1e-5 in its forward."""

    @classmethod
    def backward(cls, ctx, dy):
        x, _, _ = ctx.saved_tensors
        r = (x.var(cls.axis, correction=0, keepdim=True) + 1e-4).rsqrt()
        normal = (x - x.mean(cls.axis, keepdim=True)) * r
        mean = dy.mean(cls.axis, keepdim=True)
        return r * (dy - mean - normal * (dy * normal).mean(cls.axis, keepdim=True))


class BatchNorm(LayerNorm):
    axis = 0


class BatchNormConstantStatistics(BatchNorm):
    """Batch norm that takes the batch's mean and variance for constants, as in evaluation."""

    @classmethod
    def backward(cls, ctx, dy):
        _, _, r = ctx.saved_tensors
        return r * dy


class BatchNormWrongAxis(BatchNorm):
    """Batch norm that averages the gradient over the features instead of the batch."""

    @classmethod
    def backward(cls, ctx, dy):
        _, normal, r = ctx.saved_tensors
        return r * (dy - dy.mean(1, keepdim=True) - normal * (dy * normal).mean(1, keepdim=True))


class RMSNorm(Function):
    @staticmethod
    def forward(ctx, x, weight):
        r = (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        ctx.save_for_backward(x * r, r, weight)
        return x * r * weight

    @staticmethod
    def backward(ctx, dy):
        normal, r, weight = ctx.saved_tensors
        inner = dy * weight
        dx = r * (inner - normal * (inner * normal).mean(-1, keepdim=True))
        return dx, (dy * normal).sum(0)


class RMSNormSum(RMSNorm):
    """RMS norm with a sum for the mean over the features."""

    @staticmethod
    def backward(ctx, dy):
        normal, r, weight = ctx.saved_tensors
        inner = dy * weight
        dx = r * (inner - normal * (inner * normal).sum(-1, keepdim=True))
        return dx, (dy * normal).sum(0)


class RMSNormUnnormalized(RMSNorm):
    """RMS norm whose weight gets the gradient of the input as it was before it was normalized."""

    @staticmethod
    def backward(ctx, dy):
        normal, r, weight = ctx.saved_tensors
        inner = dy * weight
        dx = r * (inner - normal * (inner * normal).mean(-1, keepdim=True))
        return dx, (dy * normal / r).sum(0)


class Softmax(Function):
    @staticmethod
    def forward(ctx, x):
        e = torch.exp(x - x.amax(-1, keepdim=True))
        y = e / e.sum(-1, keepdim=True)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return y * (dy - (y * dy).sum(-1, keepdim=True))


class SoftmaxWithoutSum(Softmax):
    """Softmax without the sum: the diagonal of its Jacobian alone."""

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return y * (1 - y) * dy


class SoftmaxWrongAxis(Softmax):
    """Softmax with the sum over the batch instead of the classes."""

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return y * (dy - (y * dy).sum(0, keepdim=True))


FAULTS = [
    in_backward(LayerNormWithoutMean, perceptron(), rows(7, 5)),
    in_backward(LayerNormWithoutVariance, perceptron(), rows(7, 5)),
    in_backward(LayerNormUnbiased, perceptron(), rows(7, 5)),
    in_backward(LayerNormOtherEps, perceptron(), rows(7, 5)),
    in_backward(BatchNormConstantStatistics, perceptron(), rows(7, 5)),
    in_backward(BatchNormWrongAxis, perceptron(), rows(7, 5)),
    in_backward(RMSNormSum, perceptron((6,)), rows(7, 5)),
    in_backward(RMSNormUnnormalized, perceptron((6,)), rows(7, 5)),
    in_backward(SoftmaxWithoutSum, perceptron(), rows(7, 5)),
    in_backward(SoftmaxWrongAxis, perceptron(), rows(7, 5)),
]
