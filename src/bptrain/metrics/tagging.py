"""Metrics of tagging. Predictions are scores (N, T, K), or the tags themselves (N, T); places IGNORED do not count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bptrain.data.dataset import IGNORED, Dataset, Task
from bptrain.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor


def token_accuracy(predictions: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Share of the tokens whose tag is right."""
    there = targets != IGNORED
    return (_right(predictions, targets) & there).sum().double() / there.sum()


def sequence_accuracy(predictions: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Share of the sequences whose tags are all right."""
    return (_right(predictions, targets) | (targets == IGNORED)).all(1).double().mean()


def _right(predictions: Tensor, targets: Tensor) -> Tensor:
    tags = predictions.argmax(2) if predictions.is_floating_point() else predictions  # (N, T)
    return tags == targets


TAGGING: tuple[Task, ...] = ("tagging",)
METRICS = (
    Metric("token_accuracy", TAGGING, "max", token_accuracy),
    Metric("sequence_accuracy", TAGGING, "max", sequence_accuracy),
)
