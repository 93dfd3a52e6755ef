"""Truncated backprop through time: the hidden state goes on over the whole sequence, the gradient back to a cut."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

Hidden = Tensor | tuple[Tensor, Tensor]


def truncated(layers: nn.RNNBase, x: Tensor | PackedSequence, steps: int) -> tuple[Tensor | PackedSequence, Hidden]:
    """What `layers` gives for (B, T, F), or sequences packed, read in chunks of `steps` from the first step on.

    Each chunk starts from the last state of the one before, through which no gradient flows: a weight gets the sum of
    the gradients of all chunks. Source: Williams and Peng, Neural Computation 2 (1990), with h = h' = steps.
    """
    length = len(x.batch_sizes) if isinstance(x, PackedSequence) else x.shape[1]
    if length <= steps:
        return layers(x)
    return _packed(layers, x, steps) if isinstance(x, PackedSequence) else _padded(layers, x, steps)


def _padded(layers: nn.RNNBase, x: Tensor, steps: int) -> tuple[Tensor, Hidden]:
    states: list[Tensor] = []
    hidden: Any = None
    for chunk in x.split(steps, 1):  # (B, steps, F)
        made, hidden = layers(chunk, None if hidden is None else _each(hidden, Tensor.detach))
        states.append(made)
    return torch.cat(states, 1), hidden


def _packed(layers: nn.RNNBase, x: PackedSequence, steps: int) -> tuple[PackedSequence, Hidden]:
    """As the sequences are sorted by length, those that have ended before a chunk are the last rows of the state."""
    states: list[Tensor] = []
    ended: list[Any] = []
    hidden: Any = None
    chunks = x.batch_sizes.split(steps)
    for sizes, data in zip(chunks, x.data.split([int(sizes.sum()) for sizes in chunks]), strict=True):
        if hidden is not None:
            ended.append(_each(hidden, functools.partial(_rows, first=int(sizes[0]))))
            hidden = _each(hidden, functools.partial(_rows, last=int(sizes[0])))
            hidden = _each(hidden, Tensor.detach)
        made, hidden = layers(PackedSequence(data, sizes), hidden)
        states.append(made.data)
    final = _joined([hidden, *reversed(ended)])
    order = x.unsorted_indices
    if order is not None:
        final = _each(final, lambda h: h.index_select(1, order))
    return PackedSequence(torch.cat(states), x.batch_sizes, x.sorted_indices, order), final


def _rows(h: Tensor, first: int | None = None, last: int | None = None) -> Tensor:
    return h[:, first:last]  # (layers, B, H)


def _each(hidden: Any, function: Callable[[Tensor], Tensor]) -> Any:
    return tuple(map(function, hidden)) if isinstance(hidden, tuple) else function(hidden)


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(of_one, 1) for of_one in zip(*parts, strict=True))
    return torch.cat(parts, 1)
