"""Losses of numbers: squared errors, absolute errors, and Huber's between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset, Task
from bptrain.losses.loss import Loss

if TYPE_CHECKING:
    from torch import nn

NUMBERS: tuple[Task, ...] = ("regression", "forecasting", "reconstruction", "anomaly")


@dataclass(frozen=True)
class MSE(Loss, name="mse"):
    """Mean of the squared errors."""

    tasks: ClassVar[tuple[Task, ...]] = NUMBERS

    def build(self, dataset: Dataset) -> nn.Module:
        from torch import nn

        return nn.MSELoss()


@dataclass(frozen=True)
class L1(Loss, name="l1"):
    """Mean of the absolute errors."""

    tasks: ClassVar[tuple[Task, ...]] = NUMBERS

    def build(self, dataset: Dataset) -> nn.Module:
        from torch import nn

        return nn.L1Loss()


@dataclass(frozen=True)
class Huber(Loss, name="huber"):
    """Mean of e^2 / 2 for errors |e| below delta, and of delta (|e| - delta / 2) above (Huber 1964)."""

    tasks: ClassVar[tuple[Task, ...]] = NUMBERS

    delta: float = setting(1.0, "error above which the loss is linear", above=0, unit="deviations of the target")

    def build(self, dataset: Dataset) -> nn.Module:
        from torch import nn

        return nn.HuberLoss(delta=self.delta)
