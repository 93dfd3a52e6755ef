"""Metrics: what a part of the data is judged by, computed on the device from all its predictions at once."""

from __future__ import annotations

from bptrain.data.dataset import Task
from bptrain.errors import Problem, RequestError, did_you_mean
from bptrain.metrics import (
    anomaly,
    classification,
    forecasting,
    multilabel,
    regression,
    tagging,
    transduction,
    unsupervised,
)
from bptrain.metrics.metric import Metric, Mode

METRICS: tuple[Metric, ...] = (
    *classification.METRICS,
    *multilabel.METRICS,
    *forecasting.METRICS,
    *regression.METRICS,
    *tagging.METRICS,
    *transduction.METRICS,
    *unsupervised.METRICS,
    *anomaly.METRICS,
)


def metrics_for(task: Task) -> tuple[Metric, ...]:
    """All metrics of a task; the first is monitored unless the config says otherwise."""
    return tuple(metric for metric in METRICS if task in metric.tasks)


def chosen(names: tuple[str, ...] | None, monitor: str, task: Task) -> tuple[Metric, ...]:
    """The metrics that a run computes: those named, None for the usual ones of the task, and the monitored one.

    RequestError for a name that the task has not.
    """
    known = {metric.name: metric for metric in metrics_for(task)}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        what = f"is no metric of {task}."
        raise RequestError([Problem("metrics", f"'{name}' {what}", did_you_mean(name, known)) for name in unknown])
    wanted = {metric.name for metric in known.values() if metric.default} if names is None else set(names)
    return tuple(metric for name, metric in known.items() if name in wanted | {monitor})


def monitored(name: str | None, task: Task) -> tuple[str, Mode]:
    """What `monitor` names, `loss` or a metric of the task, and which end is good; None is the task's first metric.

    RequestError for any other name.
    """
    modes: dict[str, Mode] = {metric.name: metric.mode for metric in metrics_for(task)} | {"loss": "min"}
    name = next(iter(modes)) if name is None else name
    if name not in modes:
        raise RequestError(Problem("monitor", f"there is no '{name}' in {task}.", did_you_mean(name, modes)))
    return name, modes[name]
