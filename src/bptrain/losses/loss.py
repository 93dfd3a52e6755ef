"""Loss: the base of everything that training makes small, each the mean over a batch."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

from bptrain.config.component import Component, components
from bptrain.data.dataset import Dataset, Task
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from torch import nn


class Loss(Component, abc.ABC, group="loss"):
    """A function of the model's output (B, O) and the targets: classes (B,), or numbers (B, O)."""

    tasks: ClassVar[tuple[Task, ...]]
    full_batch: ClassVar[bool] = False  # whether it is one of the whole training part, and no mean over rows

    def outputs(self, dataset: Dataset) -> int:
        """How many outputs the model needs."""
        return dataset.outputs

    def output_shape(self, dataset: Dataset) -> tuple[int, ...] | None:
        """The shape of the model's output for one example; None where the loss takes what its own model gives."""
        places = tuple(dataset.parts["train"].targets.shape[1:])
        if dataset.task in ("reconstruction", "density", "anomaly"):
            return places
        outputs = self.outputs(dataset)
        return (*places, outputs) if dataset.task in ("tagging", "transduction") else (outputs,)

    @abc.abstractmethod
    def build(self, dataset: Dataset) -> nn.Module:
        """The module: (output, targets) -> scalar. RequestError when the settings don't fit the data."""

    def must_fit(self, dataset: Dataset) -> None:
        """RequestError when the loss is not for the data's task."""
        if dataset.task not in self.tasks:
            fitting = [name for name, loss in components("loss").items() if dataset.task in loss.tasks]  # type: ignore[attr-defined]
            what = f"{self.name} is for {' and '.join(self.tasks)}, and {dataset.name} is data for {dataset.task}."
            raise RequestError(Problem("loss", what, f"These fit: {', '.join(fitting)}."))
