"""Metrics of sequences that are written: predictions are tokens (N, L), targets (N, U) or all right ones (N, A, U).

What comes after END or PAD does not count. Where several targets are right, a prediction is judged by the nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bptrain.data.dataset import END, PAD, Dataset, Task
from bptrain.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor


def sequence_error_rate(predictions: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Share of the sequences that are not right in every token: of words, the word error rate."""
    distances, _ = _nearest(predictions, targets)
    return (distances > 0).double().mean()


def token_error_rate(predictions: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Insertions, deletions and substitutions per token of the targets; of phonemes, the phoneme error rate."""
    distances, lengths = _nearest(predictions, targets)
    return distances.sum().double() / lengths.sum()


def _nearest(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The distance (N) to the nearest target, the first where several are as near, and the length (N) of that."""
    targets = targets if targets.dim() == 3 else targets[:, None]  # (N, A, U)
    N, A, _ = targets.shape
    pairs = predictions.repeat_interleave(A, 0), targets.flatten(0, 1)  # (N * A, *)
    distances, nearest = edit_distance(*pairs).view(N, A).min(1)
    return distances, _length(pairs[1]).view(N, A).gather(1, nearest[:, None])[:, 0]


def edit_distance(a: Tensor, b: Tensor) -> Tensor:
    """The fewest insertions, deletions and substitutions of a token that make b (N, U) of a (N, L), each row's (N).

    Levenshtein (1966). With D(i, j) the distance of the first i tokens of a from the first j of b,
    D(i, j) = min(D(i-1, j) + 1, D(i-1, j-1) + [a_i != b_j], D(i, j-1) + 1). With E(j) the least of the first two terms,
    a whole row is D(i, j) = min over k <= j of E(k) + j - k.
    """
    import torch

    rows = torch.arange(len(a), device=a.device)
    lengths, places = _length(a), torch.arange(b.shape[1] + 1, device=a.device)
    row = places.expand(len(a), -1)  # (N, U + 1)
    found = row
    for i in range(a.shape[1]):
        kept = row[:, 1:].add(1).minimum(row[:, :-1] + (a[:, i : i + 1] != b))  # (N, U)
        first = torch.cat([row[:, :1] + 1, kept], 1)  # (N, U + 1)
        row = (first - places).cummin(1).values + places
        found = torch.where((lengths == i + 1)[:, None], row, found)
    return found[rows, _length(b)]


def _length(tokens: Tensor) -> Tensor:
    """How many tokens (N) stand before the first END or PAD of each row (N, U)."""
    return ((tokens != END) & (tokens != PAD)).cumprod(1).sum(1)


TRANSDUCTION: tuple[Task, ...] = ("transduction",)
METRICS = (
    Metric("sequence_error_rate", TRANSDUCTION, "min", sequence_error_rate),
    Metric("token_error_rate", TRANSDUCTION, "min", token_error_rate),
    Metric("word_error_rate", TRANSDUCTION, "min", sequence_error_rate, default=False),
    Metric("phoneme_error_rate", TRANSDUCTION, "min", token_error_rate, default=False),
)
