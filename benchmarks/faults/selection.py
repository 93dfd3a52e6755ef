"""Functions that select, with a gradient that goes to the wrong elements."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import Function

from faults.fault import in_backward
from faults.network import Applied, perceptron, rows


class Leaky(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x > 0, x, 0.1 * x)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, dy, 0.1 * dy)


class OtherBranch(Leaky):
    """The gradient of the other branch of where."""

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, 0.1 * dy, dy)


class BranchByGradient(Leaky):
    """The branch is chosen by the sign of the gradient instead of that of the input."""

    @staticmethod
    def backward(ctx, dy):
        return torch.where(dy > 0, dy, 0.1 * dy)


class ReLU(Function):
    last: Tensor

    @staticmethod
    def forward(ctx, x):
        ctx.mask = ReLU.last = x > 0
        return torch.where(ctx.mask, x, 0.0)

    @staticmethod
    def backward(ctx, dy):
        return torch.where(ctx.mask, dy, 0.0)


class StaleMask(ReLU):
    """The mask of the latest call instead of its own: wrong in the first of two calls alone."""

    @staticmethod
    def backward(ctx, dy):
        return torch.where(ReLU.last, dy, 0.0)


def twice(function: type[Function]) -> nn.Module:
    first = [nn.Linear(5, 6), Applied(function), nn.Linear(6, 6)]
    return nn.Sequential(*first, Applied(function), nn.Linear(6, 3), nn.Tanh())


class Dropout(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mask = torch.rand(x.shape) > 0.3
        return torch.where(ctx.mask, x / 0.7, 0.0)

    @staticmethod
    def backward(ctx, dy):
        return torch.where(ctx.mask, dy / 0.7, 0.0)


class DropoutOtherMask(Dropout):
    """Dropout's backward draws another mask."""

    @staticmethod
    def backward(ctx, dy):
        return torch.where(torch.rand(dy.shape) > 0.3, dy / 0.7, 0.0)


class DropoutUnscaled(Dropout):
    """Dropout's backward does not divide by the share that is kept."""

    @staticmethod
    def backward(ctx, dy):
        return torch.where(ctx.mask, dy, 0.0)


class Clamp(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(-0.3, 0.4)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return torch.where((x > -0.3) & (x < 0.4), dy, 0.0)


class ClampPassesAll(Clamp):
    """Clamp's gradient passes outside of the limits too."""

    @staticmethod
    def backward(ctx, dy):
        return dy


class ClampOneSided(Clamp):
    """Clamp's backward knows its upper limit only."""

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return torch.where(x < 0.4, dy, 0.0)


class Largest(Function):
    """Each row's largest element, whose gradient is shared by those that are equally large."""

    @staticmethod
    def forward(ctx, x):
        y = x.amax(-1, keepdim=True)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, y = ctx.saved_tensors
        ties = (x == y).to(dy.dtype)
        return dy * ties / ties.sum(-1, keepdim=True)


class LargestToAll(Largest):
    """All elements that are equally large get the whole gradient of the maximum."""

    @staticmethod
    def backward(ctx, dy):
        x, y = ctx.saved_tensors
        return dy * (x == y)


class LargestToFirst(Largest):
    """The first element of each row gets the gradient of the maximum: its index is lost."""

    @staticmethod
    def backward(ctx, dy):
        x, _ = ctx.saved_tensors
        return torch.cat([dy, torch.zeros_like(x[:, 1:])], 1)


class Tied(nn.Module):
    """Each unit stands twice in what the Function gets, so that every maximum is a tie."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.first, self.largest, self.last = nn.Linear(5, 6), Applied(function), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))  # (B, 6)
        largest = self.largest(torch.cat([y, y], 1))  # (B, 12) -> (B, 1)
        return self.last(torch.cat([y, largest], 1))


class Chosen(nn.Module):
    """The largest unit beside all of them."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.first, self.largest, self.last = nn.Linear(5, 6), Applied(function), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))  # (B, 6)
        return self.last(torch.cat([y, self.largest(y)], 1))


class Embedding(Function):
    @staticmethod
    def forward(ctx, tokens, weight):
        ctx.save_for_backward(tokens, weight)
        return weight[tokens]

    @staticmethod
    def backward(ctx, dy):
        tokens, weight = ctx.saved_tensors
        return None, torch.zeros_like(weight).index_put((tokens,), dy, accumulate=True)


class EmbeddingOverwritten(Embedding):
    """A token that occurs several times has the gradient of one occurrence: written instead of added."""

    @staticmethod
    def backward(ctx, dy):
        tokens, weight = ctx.saved_tensors
        return None, torch.zeros_like(weight).index_put((tokens,), dy)


class EmbeddingOffByOne(Embedding):
    """The gradient of each token goes to the one after it."""

    @staticmethod
    def backward(ctx, dy):
        tokens, weight = ctx.saved_tensors
        after = (tokens + 1) % len(weight)
        return None, torch.zeros_like(weight).index_put((after,), dy, accumulate=True)


def embedded(function: type[Function]) -> nn.Module:
    layers = [Applied(function, (9, 4)), nn.Tanh(), nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3)]
    return nn.Sequential(*layers)


TOKENS = torch.tensor([[3, 1, 3, 8], [0, 1, 5, 3]])

FAULTS = [
    in_backward(OtherBranch, perceptron(), rows(7, 5)),
    in_backward(BranchByGradient, perceptron(), rows(7, 5)),
    in_backward(StaleMask, twice, rows(7, 5), path="1"),
    in_backward(DropoutOtherMask, perceptron(), rows(7, 5)),
    in_backward(DropoutUnscaled, perceptron(), rows(7, 5)),
    in_backward(ClampPassesAll, perceptron(), rows(7, 5)),
    in_backward(ClampOneSided, perceptron(), rows(7, 5)),
    in_backward(LargestToAll, Tied, rows(7, 5)),
    in_backward(LargestToFirst, Chosen, rows(7, 5)),
    in_backward(EmbeddingOverwritten, embedded, TOKENS),
    in_backward(EmbeddingOffByOne, embedded, TOKENS),
]
