"""Products with a gradient that is transposed, conjugated, or not summed as it has to be."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import Function

from faults.approximation import Linear
from faults.fault import in_backward
from faults.network import perceptron, rows


class WeightTransposed(Linear):
    """The gradient of a square weight is transposed."""

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        return dy @ weight, x.T @ dy


class InputByTransposed(Linear):
    """The input's gradient is taken with the transposed weight."""

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        return dy @ weight.T, dy.T @ x


class WeightWithoutLastRow(Linear):
    """The weight's gradient leaves out the last row of the batch."""

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        return dy @ weight, dy[:-1].T @ x[:-1]


class WeightMean(Linear):
    """The weight's gradient is the mean over the batch instead of the sum."""

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        return dy @ weight, dy.T @ x / len(x)


class WithoutWeight(Linear):
    """A weight that is used twice gets no gradient from its second use."""

    @staticmethod
    def backward(ctx, dy):
        _, weight = ctx.saved_tensors
        return dy @ weight, None


class Shared(nn.Module):
    """One weight used twice, by an honest Function and by the one in question."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(5, 6), nn.Linear(6, 3), function
        self.weight = nn.Parameter(torch.randn(6, 6) / 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        y = torch.tanh(Linear.apply(y, self.weight))
        return self.last(torch.tanh(self.function.apply(y, self.weight)))


class Affine(Function):
    """x times a scale for each feature, plus a shift."""

    @staticmethod
    def forward(ctx, x, scale, shift):
        ctx.save_for_backward(x, scale)
        return x * scale + shift

    @staticmethod
    def backward(ctx, dy):
        x, scale = ctx.saved_tensors
        return dy * scale, (dy * x).sum(0), dy.sum(0)


class ShiftOfOneRow(Affine):
    """The shift, a bias, has the gradient of the first row alone."""

    @staticmethod
    def backward(ctx, dy):
        x, scale = ctx.saved_tensors
        return dy * scale, (dy * x).sum(0), dy[0]


class ScaleByOutput(Affine):
    """The scale's gradient is taken with the output instead of the input."""

    @staticmethod
    def backward(ctx, dy):
        x, scale = ctx.saved_tensors
        return dy * scale, (dy * x * scale).sum(0), dy.sum(0)


class Gain(Function):
    """x times one number."""

    @staticmethod
    def forward(ctx, x, gain):
        ctx.save_for_backward(x, gain)
        return x * gain

    @staticmethod
    def backward(ctx, dy):
        x, gain = ctx.saved_tensors
        return dy * gain, (dy * x).sum().reshape(gain.shape)


class GainNotSummed(Gain):
    """The gradient of a number that was broadcast is that of one element: the sum is missing."""

    @staticmethod
    def backward(ctx, dy):
        x, gain = ctx.saved_tensors
        return dy * gain, (dy * x)[0, 0].reshape(gain.shape)


class ComplexProduct(Function):
    @staticmethod
    def forward(ctx, z, weight):
        ctx.save_for_backward(z, weight)
        return z * weight

    @staticmethod
    def backward(ctx, dy):
        z, weight = ctx.saved_tensors
        return dy * weight.conj(), (dy * z.conj()).sum(0)


class WithoutConjugate(ComplexProduct):
    """The gradient of a complex product without the conjugates."""

    @staticmethod
    def backward(ctx, dy):
        z, weight = ctx.saved_tensors
        return dy * weight, (dy * z).sum(0)


class Complex(nn.Module):
    """Real in, real out, complex in its middle."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(5, 8), nn.Linear(8, 3), function
        self.weight = nn.Parameter(torch.randn(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        z = torch.view_as_complex(torch.tanh(self.first(x)).unflatten(1, (4, 2)))  # (B, 8) -> (B, 4)
        z = self.function.apply(z, torch.view_as_complex(self.weight))
        return self.last(torch.view_as_real(z).flatten(1))  # (B, 4) -> (B, 8) -> (B, 3)


class Quadratic(Function):
    """x^T A x of each row, with a matrix A that is not symmetric."""

    @staticmethod
    def forward(ctx, x, matrix):
        ctx.save_for_backward(x, matrix)
        return x * torch.einsum("bi,ij,bj->b", x, matrix, x).unsqueeze(1)

    @staticmethod
    def backward(ctx, dy):
        x, matrix = ctx.saved_tensors
        value = torch.einsum("bi,ij,bj->b", x, matrix, x).unsqueeze(1)
        dvalue = (dy * x).sum(1, keepdim=True)
        return dy * value + dvalue * (x @ matrix.T + x @ matrix), torch.einsum("b,bi,bj->ij", dvalue[:, 0], x, x)


class QuadraticSymmetric(Quadratic):
    """The gradient of x^T A x as if A were symmetric: 2 A x."""

    @staticmethod
    def backward(ctx, dy):
        x, matrix = ctx.saved_tensors
        value = torch.einsum("bi,ij,bj->b", x, matrix, x).unsqueeze(1)
        dvalue = (dy * x).sum(1, keepdim=True)
        return dy * value + dvalue * 2 * (x @ matrix.T), torch.einsum("b,bi,bj->ij", dvalue[:, 0], x, x)


FAULTS = [
    in_backward(WeightTransposed, perceptron((6, 6)), rows(7, 5)),
    in_backward(InputByTransposed, perceptron((6, 6)), rows(7, 5)),
    in_backward(WeightWithoutLastRow, perceptron((6, 6)), rows(7, 5)),
    in_backward(WeightMean, perceptron((6, 6)), rows(7, 5)),
    in_backward(WithoutWeight, Shared, rows(7, 5)),
    in_backward(ShiftOfOneRow, perceptron((6,), (6,)), rows(7, 5)),
    in_backward(ScaleByOutput, perceptron((6,), (6,)), rows(7, 5)),
    in_backward(GainNotSummed, perceptron((1,)), rows(7, 5)),
    in_backward(WithoutConjugate, Complex, rows(7, 5)),
    in_backward(QuadraticSymmetric, perceptron((6, 6)), rows(7, 5)),
]
