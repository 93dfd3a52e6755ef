"""Causal attention with a backward that forgets what its forward does."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.autograd import Function

from faults.fault import in_backward
from faults.network import rows


def weights(q: Tensor, k: Tensor) -> Tensor:
    """The causal attention weights (B, T, T) of queries and keys (B, T, F)."""
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # (B, T, T)
    return torch.softmax(scores.masked_fill(ahead(q), -math.inf), -1)


def ahead(q: Tensor) -> Tensor:
    """(T, T): which keys come after a query."""
    return torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).triu(1)


class Attention(Function):
    @staticmethod
    def forward(ctx, q, k, v):
        a = weights(q, k)
        ctx.save_for_backward(q, k, v, a)
        return a @ v

    @staticmethod
    def backward(ctx, dy):
        q, k, v, a = ctx.saved_tensors
        da = dy @ v.mT
        ds = a * (da - (a * da).sum(-1, keepdim=True)) / math.sqrt(q.shape[-1])
        return ds @ k, ds.mT @ q, a.mT @ dy


class Unscaled(Attention):
    """The scores' gradient without the division by the root of the width."""

    @staticmethod
    def backward(ctx, dy):
        q, k, v, a = ctx.saved_tensors
        da = dy @ v.mT
        ds = a * (da - (a * da).sum(-1, keepdim=True))
        return ds @ k, ds.mT @ q, a.mT @ dy


class NotCausal(Attention):
    """The weights are computed again in the backward, without the causal mask."""

    @staticmethod
    def backward(ctx, dy):
        q, k, v, _ = ctx.saved_tensors
        a = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
        da = dy @ v.mT
        ds = a * (da - (a * da).sum(-1, keepdim=True)) / math.sqrt(q.shape[-1])
        return ds @ k, ds.mT @ q, a.mT @ dy


class ValuesTransposed(Attention):
    """The values' gradient with the weights not transposed."""

    @staticmethod
    def backward(ctx, dy):
        q, k, v, a = ctx.saved_tensors
        da = dy @ v.mT
        ds = a * (da - (a * da).sum(-1, keepdim=True)) / math.sqrt(q.shape[-1])
        return ds @ k, ds.mT @ q, a @ dy


class KeysForQueries(Attention):
    """The gradients of queries and keys are swapped."""

    @staticmethod
    def backward(ctx, dy):
        q, k, v, a = ctx.saved_tensors
        da = dy @ v.mT
        ds = a * (da - (a * da).sum(-1, keepdim=True)) / math.sqrt(q.shape[-1])
        return ds.mT @ q, ds @ k, a.mT @ dy


class LastBlockMissing(Attention):
    """The keys' gradient leaves out the last query: a block that does not divide the length."""

    @staticmethod
    def backward(ctx, dy):
        q, k, v, a = ctx.saved_tensors
        da = dy @ v.mT
        ds = a * (da - (a * da).sum(-1, keepdim=True)) / math.sqrt(q.shape[-1])
        return ds @ k, ds[:, :-1].mT @ q[:, :-1], a.mT @ dy


class Attending(nn.Module):
    """One head of attention between layers of its own, (B, T, 5) to (B, T, 3)."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function
        self.queries, self.keys, self.values = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(5, 4)
        self.norm, self.last = nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.function.apply(self.queries(x), self.keys(x), self.values(x))))


FAULTS = [
    in_backward(bad, Attending, rows(2, 6, 5, scale=2.0))
    for bad in (Unscaled, NotCausal, ValuesTransposed, KeysForQueries, LastBlockMissing)
]
