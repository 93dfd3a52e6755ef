"""Sequences of tokens that end at PAD, and what a head sees of the states over a sequence."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bptrain.data.dataset import PAD

SMALL = 0.1  # standard deviation by which rare words, whose vectors stay as they were drawn, add little noise


def embedding(vocabulary: int, width: int, dropout: float, deviation: float = 1.0) -> nn.Sequential:
    """Tokens (...) -> their vectors (..., width), drawn with a standard deviation; PAD has zeros and no gradient."""
    table = nn.Embedding(vocabulary, width, padding_idx=PAD)
    table.weight.detach().mul_(deviation)
    return nn.Sequential(OrderedDict(table=table) | ({"dropout": nn.Dropout(dropout)} if dropout else {}))


def lengths_of(tokens: Tensor) -> Tensor:
    """How many of the tokens (B, T) come before the end (B); an empty sequence has one, PAD."""
    return (tokens != PAD).sum(1).clamp_min(1)


def before_end(lengths: Tensor, steps: int) -> Tensor:
    """True (B, steps) where a sequence of a length (B) still lasts."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def pooled(states: Tensor, output: str, lengths: Tensor, steps: int) -> Tensor:
    """What a head sees of the states (B, T, W) of sequences of some lengths (B), T at most `steps`.

    "last" and "mean" -> (B, W), "every" -> (B, steps W) with zeros after the end.
    """
    if output == "last":
        return states[torch.arange(len(states), device=states.device), lengths - 1]
    states = states.where(before_end(lengths, states.shape[1])[..., None], 0)
    if output == "mean":
        return states.sum(1) / lengths[:, None]
    return F.pad(states, (0, 0, 0, steps - states.shape[1])).flatten(1)


class MeanToken(nn.Module):
    """Tokens (B, T) -> the mean (B, W) of their vectors, up to the end of each sequence."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, tokens: Tensor) -> Tensor:
        return pooled(self.embedding(tokens), "mean", lengths_of(tokens), tokens.shape[1])


class EachToken(nn.Module):
    """Tokens (B, T) -> (B, T, O): each by itself through the same layers (N, W) -> (N, O); zeros after the end."""

    def __init__(self, embedding: nn.Module, layers: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding
        self.layers = layers

    def forward(self, tokens: Tensor) -> Tensor:
        there = tokens != PAD
        y = self.layers(self.embedding(tokens[there]))  # (N, O)
        each = y.new_zeros(*tokens.shape, y.shape[1])
        each[there] = y
        return each  # (B, T, O)
