"""Model: the base of every architecture."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import Component, components
from bptrain.data.dataset import Dataset, Task
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from torch import nn


WIDEST = 2**20  # units of a layer, and places of a window


class Model(Component, abc.ABC, group="model"):
    """An architecture: its settings, and how to build the network for inputs of a given shape.

    `tasks` are those it is for; `reads` says whether its inputs are numbers or tokens.

    A network may have two methods more. predict(inputs) gives what metrics judge where that is not the output, such
    as the best path or a decoded sequence. condition(inputs, targets) gives it the training part before the first
    step, which some models predict from.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "multilabel", "regression", "forecasting", "anomaly")
    reads: ClassVar[tuple[Literal["numbers", "tokens"], ...]] = ("numbers",)

    @abc.abstractmethod
    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network: (B, *shape) -> (B, outputs), its last layer a Linear named `head`.

        Weights are drawn from torch's global generator on the CPU. RequestError when `shape` does not
        fit, naming the layer.
        """

    def prepared(self, dataset: Dataset) -> Dataset:
        """The dataset as the model takes it: where one learns without targets, the inputs are the targets."""
        return dataset

    def network(self, dataset: Dataset, outputs: int) -> nn.Module:
        """The network for a dataset; a model that needs more of it than the shape of an input says how."""
        return self.build(dataset.shape, outputs)

    def must_fit(self, dataset: Dataset) -> None:
        """RequestError when the model is not for the data's task or kind of inputs."""
        kind = "tokens" if dataset.vocabulary else "numbers"
        for has, all_of, what in ((dataset.task, "tasks", "for"), (kind, "reads", "a reader of")):
            mine = getattr(self, all_of)
            if has not in mine:
                fitting = [name for name, model in components("model").items() if has in getattr(model, all_of)]
                said = f"{self.name} is {what} {' and '.join(mine)}, and {dataset.name} is data of {has}."
                raise RequestError(Problem("model", said, f"These fit: {', '.join(fitting)}."))
