"""Metrics of labels of which an example may have any number. Outputs are logits (N, K), targets (N, K) of 0 and 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bptrain.data.dataset import Dataset, Task
from bptrain.metrics.classification import area_under_roc
from bptrain.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor


def micro_f1(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """2 TP / (2 TP + FP + FN) over all examples and labels together; a label is given where its logit is above 0."""
    given, there = outputs > 0, targets > 0.5
    return 2 * (given & there).sum() / (given.sum() + there.sum()).clamp(min=1)


def macro_f1(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """The mean over the labels of that of each; 0 for a label that is neither there nor given."""
    given, there = outputs > 0, targets > 0.5
    return (2 * (given & there).sum(0) / (given.sum(0) + there.sum(0)).clamp(min=1)).mean()


def subset_accuracy(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Share of examples of which every label is right."""
    return ((outputs > 0) == (targets > 0.5)).all(1).float().mean()


def hamming_loss(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Share of labels that are wrong."""
    return ((outputs > 0) != (targets > 0.5)).float().mean()


def auroc(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """The mean over the labels of the area under the ROC curve of each, of those that some have and some have not."""
    import torch

    return torch.stack([area_under_roc(outputs[:, k], targets[:, k] > 0.5) for k in range(outputs.shape[1])]).nanmean()


LABELS: tuple[Task, ...] = ("multilabel",)
METRICS = (
    Metric("f1", LABELS, "max", micro_f1),
    Metric("macro_f1", LABELS, "max", macro_f1, default=False),
    Metric("subset_accuracy", LABELS, "max", subset_accuracy),
    Metric("hamming_loss", LABELS, "min", hamming_loss, default=False),
    Metric("auroc", LABELS, "max", auroc, default=False),
)
