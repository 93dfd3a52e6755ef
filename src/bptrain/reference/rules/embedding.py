"""Embedding: rows of a table, picked by their numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.norm import vector_norm


def occurrences(index: Tensor, weight: Tensor) -> Tensor:
    """How often each row of weight (V, D) is picked (V)."""
    return weight.new_zeros(len(weight)).index_add(0, index, torch.ones_like(index, dtype=weight.dtype))


def shortened(index: Tensor, weight: Tensor, max_norm: float | None, norm_type: float) -> Tensor:
    """The table after those rows that are picked and longer than `max_norm` have been scaled down to it."""
    if max_norm is None:
        return weight
    length = vector_norm(weight, float(norm_type), -1, True)[0]
    long = (occurrences(index, weight)[:, None] > 0) & (length > max_norm)
    return weight * torch.where(long, max_norm / (length + 1e-7), 1)


class Embedding(Rule, functions=[F.embedding]):
    """y = the rows of w (V, D) that the integers x (*) name, y (*, D).

    Derivation. dw_v sums the dy of all places where x is v.
    Contracts. The row `padding_idx` has the gradient 0 even if it is picked. With `scale_grad_by_freq` dw_v is divided
    by the number of times that v is picked. With `max_norm` the table itself is changed before it is read, and dw
    is the gradient by the changed table, as if the change had been made before the call. `sparse` changes how dw is
    stored and nothing else.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        weight, index = torch.randn(5, 3), torch.tensor([[1, 4, 1], [0, 1, 4]])
        yield case("table", index, weight)
        yield case("one", torch.tensor(2), weight)
        yield case("padding", index, weight, 1, smooth=False)
        yield case("padding, counted from the end", index, weight, padding_idx=-1, smooth=False)
        yield case("scaled by frequency", index, weight, scale_grad_by_freq=True, smooth=False)
        yield case("no longer than", index, weight, None, 0.5, smooth=False)
        yield case("no longer than, sum of sizes", index.int(), weight, None, 2.5, 1.0, smooth=False)

    @staticmethod
    def contract(
        input: Tensor,
        weight: Tensor,
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        **_: Any,
    ) -> str:
        padded = padding_idx is not None and bool((input == padding_idx % len(weight)).any())
        index = input.reshape(-1)
        renormed = max_norm is not None and not torch.equal(shortened(index, weight, max_norm, norm_type), weight)
        twice = scale_grad_by_freq and bool((occurrences(index, weight) > 1).any())
        parts = {
            f"row {padding_idx}, the padding, gets no gradient": padded,
            "the renormalisation by max_norm is not differentiated": renormed,
            "gradients are divided by how often a row is picked": twice,
        }
        return "; ".join(words for words, applies in parts.items() if applies)

    @staticmethod
    def forward(
        input: Tensor,
        weight: Tensor,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> tuple[Tensor, Any]:
        index = input.reshape(-1)
        y = shortened(index, weight, max_norm, norm_type)[index]
        return y.reshape(*input.shape, -1), (index, weight, padding_idx, scale_grad_by_freq)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        index, weight, padding_idx, by_frequency = cache
        dweight = torch.zeros_like(weight).index_add(0, index, dy.reshape(len(index), -1))
        if by_frequency:
            dweight = dweight / occurrences(index, weight).clamp_min(1)[:, None]
        if padding_idx is not None:
            dweight[padding_idx] = 0
        return None, dweight


class DirectEmbedding(Rule, functions=[torch.embedding]):
    """torch's own lookup, below torch.nn.functional: as `Embedding`, the table first; no padding if it is negative."""

    @staticmethod
    def cases() -> Iterable[Case]:
        weight, index = torch.randn(5, 3), torch.tensor([1, 4, 1])
        yield case("table", weight, index)
        yield case("padding, scaled by frequency", weight, index, 4, True, smooth=False)

    @staticmethod
    def contract(weight: Tensor, indices: Tensor, padding_idx: int, scale_grad_by_freq: bool, **_: Any) -> str:
        padding = padding_idx if padding_idx >= 0 else None
        return Embedding.contract(indices, weight, padding, None, 2.0, scale_grad_by_freq)

    @staticmethod
    def forward(
        weight: Tensor,
        indices: Tensor,
        padding_idx: int = -1,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> tuple[Tensor, Any]:
        padding = padding_idx if padding_idx >= 0 else None
        return Embedding.forward(indices, weight, padding, scale_grad_by_freq=scale_grad_by_freq)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor | None:
        return Embedding.backward(cache, dy)[1]
