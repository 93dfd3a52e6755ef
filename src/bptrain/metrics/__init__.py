"""Metrics: what a part of the data is judged by, computed on the device from all its predictions at once."""

from __future__ import annotations

from bptrain.data.dataset import Task
from bptrain.errors import Problem, RequestError, did_you_mean
from bptrain.metrics import classification, regression
from bptrain.metrics.metric import Metric, Mode

METRICS: tuple[Metric, ...] = (*classification.METRICS, *regression.METRICS)


def metrics_for(task: Task) -> tuple[Metric, ...]:
    """The metrics of a task; the first is monitored unless the config says otherwise."""
    return tuple(metric for metric in METRICS if task in metric.tasks)


def monitored(name: str | None, task: Task) -> tuple[str, Mode]:
    """What `monitor` names, `loss` or a metric of the task, and which end is good; None is the task's first metric.

    RequestError for any other name.
    """
    modes: dict[str, Mode] = {metric.name: metric.mode for metric in metrics_for(task)} | {"loss": "min"}
    name = next(iter(modes)) if name is None else name
    if name not in modes:
        raise RequestError(Problem("monitor", f"there is no '{name}' in {task}.", did_you_mean(name, modes)))
    return name, modes[name]
