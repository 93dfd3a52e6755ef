"""Metrics of anomaly detection: an example is called an anomaly where its error is above the threshold.

Predictions are the pair of the errors (N,), in the order of the series, and the threshold (); targets are the labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bptrain.data.dataset import Dataset
from bptrain.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

Judged = tuple["Tensor", "Tensor"]
NEAR = 100  # examples between the highest error and an anomaly, as the UCR archive allows


def rmse(judged: Judged, labels: Tensor, dataset: Dataset) -> Tensor:
    """Root of the mean squared error by which examples are judged, in the units of the series."""
    return judged[0].mean().sqrt() * dataset.target_scale[0]


def precision(judged: Judged, labels: Tensor, dataset: Dataset) -> Tensor:
    """Share of anomalies among the examples that are called so; 0 where none is."""
    return _ratio(_hits(judged, labels), _called(judged).sum())


def recall(judged: Judged, labels: Tensor, dataset: Dataset) -> Tensor:
    """Share of the anomalies that are called so; 0 where there is none."""
    return _ratio(_hits(judged, labels), labels.sum())


def f1(judged: Judged, labels: Tensor, dataset: Dataset) -> Tensor:
    """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN); 0 where nothing is or is called an anomaly."""
    return _ratio(2 * _hits(judged, labels), _called(judged).sum() + labels.sum())


def located(judged: Judged, labels: Tensor, dataset: Dataset) -> Tensor:
    """1 where the highest error lies in an anomaly or within 100 examples of one, else 0.

    The score of the UCR anomaly archive (Wu and Keogh, "Current Time Series Anomaly Detection Benchmarks are Flawed",
    IEEE TKDE 2021), whose series have one anomaly each. It needs no threshold.
    """
    anomalies = labels.nonzero()[:, 0]
    return ((anomalies - judged[0].argmax()).abs() <= NEAR).any().float()


def _called(judged: Judged) -> Tensor:
    errors, threshold = judged
    return errors > threshold


def _hits(judged: Judged, labels: Tensor) -> Tensor:
    return (_called(judged) & (labels == 1)).sum()


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part / whole.clamp(min=1)


METRICS = (
    Metric("rmse", ("anomaly",), "min", rmse),
    Metric("f1", ("anomaly",), "max", f1, finds=True),
    Metric("precision", ("anomaly",), "max", precision, finds=True),
    Metric("recall", ("anomaly",), "max", recall, finds=True),
    Metric("located", ("anomaly",), "max", located, finds=True),
)
