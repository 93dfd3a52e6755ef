"""Metrics of numbers, in the units of the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bptrain.data.dataset import Dataset, Task
from bptrain.errors import Problem, RequestError
from bptrain.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

NORMAL_95 = 1.959964  # 95 % of a normal distribution lie within so many deviations


def rmse(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Root of the mean squared error."""
    return ((outputs - targets).square().mean(0).sqrt() * outputs.new_tensor(dataset.target_scale)).mean()


def mae(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Mean absolute error."""
    return ((outputs - targets).abs().mean(0) * outputs.new_tensor(dataset.target_scale)).mean()


def r2(outputs: Tensor, targets: Tensor, dataset: Dataset) -> Tensor:
    """Share of the variance that is explained: 1 - sum (y - o)^2 / sum (y - mean y)^2.

    A column that is constant counts 1 if it is met exactly, else 0.
    """
    errors = (outputs - targets).square().sum(0)  # (O,)
    spread = (targets - targets.mean(0)).square().sum(0)  # (O,)
    constant = (errors == 0).to(errors.dtype)
    return (1 - errors / spread).where(spread > 0, constant).mean()


def coverage(outputs: tuple[Tensor, Tensor], targets: Tensor, dataset: Dataset) -> Tensor:
    """Share of the targets within 1.96 standard deviations of the mean: 0.95 if the distributions are right.

    RequestError when the outputs are no means and variances.
    """
    if not isinstance(outputs, tuple):
        what = "coverage needs a variance of each target, which this model does not give."
        raise RequestError(Problem("metrics", what, "model=gp does."))
    mean, variance = outputs
    return ((targets - mean).abs() <= NORMAL_95 * variance.sqrt()).float().mean()


NUMBERS: tuple[Task, ...] = ("regression", "forecasting")
METRICS = (
    Metric("rmse", NUMBERS, "min", rmse),
    Metric("mae", NUMBERS, "min", mae),
    Metric("r2", NUMBERS, "max", r2),
    Metric("coverage", NUMBERS, "max", coverage, default=False, of="outputs"),
)
