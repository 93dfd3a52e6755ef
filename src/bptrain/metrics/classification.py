"""Metrics of classes. Outputs are logits: (N, K) one for each class, or (N, 1) that of the second of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bptrain.data.dataset import Dataset, Task
from bptrain.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

BINS = 15  # of the confidences, as in Guo et al. 2017


def probabilities(outputs: Tensor) -> Tensor:
    """(N, K), those of two classes where there is one logit."""
    import torch

    if outputs.shape[1] > 1:
        return outputs.softmax(1)
    return torch.cat([(-outputs).sigmoid(), outputs.sigmoid()], 1)  # 1 - s(z) = s(-z), without cancellation


def predicted(outputs: Tensor) -> Tensor:
    """The class with the highest output (N,); of a single logit, class 1 where it is above 0."""
    return (outputs[:, 0] > 0).long() if outputs.shape[1] == 1 else outputs.argmax(1)


def accuracy(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Share of examples whose class has the highest output."""
    return (predicted(outputs) == targets).float().mean()


def balanced_accuracy(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Mean over the classes that occur of the share of their examples that is recognised (Brodersen et al. 2010)."""
    hits, _, there = _counts(outputs, targets)
    return (hits / there)[there > 0].mean()


def f1(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Mean over the classes that occur or are predicted of 2 TP / (2 TP + FP + FN): the macro average."""
    hits, called, there = _counts(outputs, targets)
    return (2 * hits / (called + there))[called + there > 0].mean()


def _counts(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each class (K,) the examples that are recognised, that are called it, and that are of it."""
    classes, called = max(2, outputs.shape[1]), predicted(outputs)
    hits = targets[called == targets].bincount(minlength=classes)
    return hits, called.bincount(minlength=classes), targets.bincount(minlength=classes)


def auroc(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Share of the pairs of an example of a class and one of another that the class's probability ranks rightly.

    The area under the ROC curve. Of more than two classes, the mean over those that have both kinds of examples.
    """
    import torch

    if outputs.shape[1] <= 2:  # by the logit, which rounding does not make equal where it is not
        return area_under_roc(outputs[:, -1] - (outputs[:, 0] if outputs.shape[1] == 2 else 0), targets == 1)
    p = probabilities(outputs)
    return torch.stack([area_under_roc(p[:, k], targets == k) for k in range(p.shape[1])]).nanmean()


def area_under_roc(scores: Tensor, positive: Tensor) -> Tensor:
    """(R - n (n + 1) / 2) / (n m) with R the sum of the ranks of the n positive among all n + m, equal scores sharing
    their ranks (Mann and Whitney 1947); NaN where n or m is 0."""
    import torch

    ordered = scores.sort().values
    below, up_to = (torch.searchsorted(ordered, scores.contiguous(), right=right) for right in (False, True))
    ranks = (below + up_to + 1).double() / 2  # from 1 on
    n = positive.sum().double()
    return (ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n))


def log_loss(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Mean of minus the logarithm of the target's probability, in nats."""
    import torch.nn.functional as F

    if outputs.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(outputs[:, 0], targets.to(outputs.dtype))
    return F.cross_entropy(outputs, targets)


def calibration_error(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Mean distance of confidence and accuracy over 15 bins of the confidence, weighted by their examples.

    The expected calibration error of Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    confidence, called = probabilities(outputs).max(1)
    place = (confidence * BINS).ceil().long().clamp(1, BINS) - 1  # (i / 15, (i + 1) / 15]
    right = (called == targets).to(confidence.dtype)
    apart = confidence.new_zeros(BINS).index_add(0, place, confidence - right)
    return apart.abs().sum() / len(targets)


CLASSES: tuple[Task, ...] = ("classification",)
METRICS = (
    Metric("accuracy", CLASSES, "max", accuracy),
    Metric("balanced_accuracy", CLASSES, "max", balanced_accuracy, default=False),
    Metric("f1", CLASSES, "max", f1, default=False),
    Metric("auroc", CLASSES, "max", auroc, default=False),
    Metric("log_loss", CLASSES, "min", log_loss, default=False),
    Metric("calibration_error", CLASSES, "min", calibration_error, default=False),
)
