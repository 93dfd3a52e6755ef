"""Slices of a tensor replaced by those of another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


class IndexCopy(Rule, functions=[torch.index_copy, Tensor.index_copy, Tensor.index_copy_]):
    """y = x with the slices of `source` at the places `index` (K) along the axis `dim`.

    Derivation. What was replaced is gone: dx = dy, 0 at those places; dsource = dy at those places. A place named twice
    keeps the last slice in torch's loop over `index`; no rule.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("rows", torch.randn(4, 3), 0, torch.tensor([2, 0]), torch.randn(2, 3))
        yield case("by name", torch.randn(2, 4), dim=-1, index=torch.tensor([3]), source=torch.randn(2, 1))
        yield case("single number", torch.randn(4), 0, torch.tensor(2), torch.randn(()))
        yield case("nothing", torch.randn(4), 0, torch.tensor([], dtype=torch.int64), torch.randn(0))

    @staticmethod
    def forward(input: Tensor, dim: int, index: Tensor, source: Tensor) -> tuple[Tensor, Any]:
        index = index.reshape(-1)  # also of a single number
        places = (slice(None),) * (dim % input.dim()) + (index,)
        if len(set(index.tolist())) < len(index):
            raise TypeError("one place gets several slices")
        y = input.clone()
        y[places] = source.reshape(y[places].shape)
        return y, (places, source.shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        places, shape = cache
        dx = dy.clone()
        dx[places] = 0
        return dx, None, None, dy[places].reshape(shape)
