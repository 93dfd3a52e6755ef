"""Metrics of forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bptrain.data.dataset import Dataset
from bptrain.metrics.metric import Metric
from bptrain.metrics.regression import mae

if TYPE_CHECKING:
    from torch import Tensor


def mase(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Mean absolute scaled error: over that of the seasonal naive forecast in the training part.

    Below 1 the forecast is better than the value a season ago. Hyndman and Koehler, "Another look at measures of
    forecast accuracy" (2006).
    """
    return mae(outputs, targets, dataset) / dataset.naive_error


METRICS = (Metric("mase", ("forecasting",), "min", mase),)
