"""Metrics of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bptrain.data.dataset import Dataset
from bptrain.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor


def accuracy(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Share of examples whose class has the highest output; of a single logit, class 1 where it is above 0."""
    predicted = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(1)  # (N,)
    return (predicted == targets).float().mean()


METRICS = (Metric("accuracy", ("classification",), "max", accuracy),)
