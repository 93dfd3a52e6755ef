"""Metrics: what a part of the data is judged by, computed on the device from all its outputs at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bptrain.data.dataset import Task
from bptrain.errors import Problem, RequestError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

Mode = Literal["max", "min"]


@dataclass(frozen=True)
class Metric:
    """A figure of merit; `mode` says which end is good.

    compute(outputs, targets, scale) -> scalar tensor: outputs (N, O), targets (N,) classes or (N, O) numbers.
    `scale` (O,) is Dataset.target_scale as a tensor on the same device: it brings errors into the target's own
    units, and classification makes no use of it. With several columns the result is the mean over them.
    """

    name: str
    task: Task
    mode: Mode
    compute: Callable[[Tensor, Tensor, Tensor], Tensor]


def accuracy(outputs: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """Share of examples whose class has the highest output; of a single logit, class 1 where it is above 0."""
    predicted = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(1)  # (N,)
    return (predicted == targets).float().mean()


def rmse(outputs: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """Root of the mean squared error."""
    return ((outputs - targets).square().mean(0).sqrt() * scale).mean()


def mae(outputs: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """Mean absolute error."""
    return ((outputs - targets).abs().mean(0) * scale).mean()


def r2(outputs: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """Share of the variance that is explained: 1 - sum (y - o)^2 / sum (y - mean y)^2.

    A column that is constant counts 1 if it is met exactly, else 0.
    """
    errors = (outputs - targets).square().sum(0)  # (O,)
    spread = (targets - targets.mean(0)).square().sum(0)  # (O,)
    constant = (errors == 0).to(errors.dtype)
    return (1 - errors / spread).where(spread > 0, constant).mean()


METRICS = (
    Metric("accuracy", "classification", "max", accuracy),
    Metric("rmse", "regression", "min", rmse),
    Metric("mae", "regression", "min", mae),
    Metric("r2", "regression", "max", r2),
)


def metrics_for(task: Task) -> tuple[Metric, ...]:
    """The metrics of a task; the first is monitored unless the config says otherwise."""
    return tuple(metric for metric in METRICS if metric.task == task)


def monitored(name: str | None, task: Task) -> tuple[str, Mode]:
    """What `monitor` names, `loss` or a metric of the task, and which end is good; None is the task's first metric.

    RequestError for any other name.
    """
    modes: dict[str, Mode] = {metric.name: metric.mode for metric in metrics_for(task)} | {"loss": "min"}
    name = next(iter(modes)) if name is None else name
    if name not in modes:
        raise RequestError(Problem("monitor", f"there is no '{name}' in {task}.", did_you_mean(name, modes)))
    return name, modes[name]
