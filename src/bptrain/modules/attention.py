"""Attention: for each query the mean of some states, weighted by how well their keys answer it.

context = sum_t a_t state_t, a = softmax_t score(query, key_t) over the steps that are there
queries (B, U, H), keys (B, T, H) from `keys(states)`, states (B, T, H), there (B, T) -> (B, U, H)
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """(queries, keys, states, there) -> context; `keys` makes the keys of the states, once for all queries."""

    keys: nn.Linear


class Additive(Attention):
    """score = v^T tanh(W query + U state), a network of one hidden layer.

    Bahdanau, Cho and Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate" (2015).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.keys = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, queries: Tensor, keys: Tensor, states: Tensor, there: Tensor) -> Tensor:
        hidden = (self.query(queries)[:, :, None] + keys[:, None]).tanh()  # (B, U, T, H)
        scores = self.score(hidden).squeeze(-1).masked_fill(~there[:, None], float("-inf"))  # (B, U, T)
        return scores.softmax(-1) @ states


class ScaledDotProduct(Attention):
    """score = (W query)^T (U state) / sqrt(H).

    Vaswani et al., "Attention Is All You Need" (2017), with one head and the states themselves as values.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.keys = nn.Linear(width, width, bias=False)

    def forward(self, queries: Tensor, keys: Tensor, states: Tensor, there: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(self.query(queries), keys, states, there[:, None])
