"""Metric: a figure of merit of a whole part of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bptrain.data.dataset import Dataset, Task

if TYPE_CHECKING:
    from torch import Tensor

Mode = Literal["max", "min"]


@dataclass(frozen=True)
class Metric:
    """A figure of merit for some tasks; `mode` says which end is good.

    compute(predictions, targets, dataset) -> scalar tensor on the device of the targets. Predictions are the
    network's outputs (N, O), or what its `predict` makes of the inputs where it has one; targets as in data.Part. What
    is measured in the target's units is brought there by `dataset.target_scale`; with several columns the result is
    the mean over them. In density predictions are a pair: the negative log-likelihood of each example (N,) in nats, or
    a bound above it, and the reconstruction (N, *shape). In anomaly they are the error of each example (N,) and the
    threshold (), targets are the labels.
    """

    name: str
    tasks: tuple[Task, ...]
    mode: Mode
    compute: Callable[[Any, Tensor, Dataset], Tensor]
    default: bool = True  # whether it is computed without being asked for
    of: Literal["predictions", "outputs"] = "predictions"  # outputs: as the loss gets them
    finds: bool = False  # whether it says how well anomalies are found, and nothing where there is none
