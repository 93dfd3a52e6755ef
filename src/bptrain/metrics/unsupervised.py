"""Metrics of what learns without targets: how well inputs are given back, and how probable they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bptrain.data.dataset import Dataset
from bptrain.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor


def reconstruction_error(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Mean squared error over all values of all examples, in the units that the network is given."""
    return (outputs - targets).square().mean()


def nll(predictions: tuple[Tensor, Tensor], targets: Tensor, dataset: Dataset) -> Tensor:
    """Negative log-likelihood of an example, or the bound above it that the model has, in nats."""
    return predictions[0].mean()


def density_reconstruction_error(predictions: tuple[Tensor, Tensor], targets: Tensor, dataset: Dataset) -> Tensor:
    """The reconstruction error of a density's predictions."""
    return reconstruction_error(predictions[1], targets, dataset)


METRICS = (
    Metric("reconstruction_error", ("reconstruction",), "min", reconstruction_error),
    Metric("nll", ("density",), "min", nll),
    Metric("reconstruction_error", ("density",), "min", density_reconstruction_error),
)
