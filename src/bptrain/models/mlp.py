"""Multi-layer perceptron: fully connected layers, each followed by an activation."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset, Task
from bptrain.errors import Problem, RequestError
from bptrain.models.activation import Activation, Sigmoid
from bptrain.models.init import Init, gain, initialise
from bptrain.models.model import WIDEST, Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MLP(Model, name="mlp"):
    """Flattens its input, then one hidden layer for each of `sizes` and a linear head; no sizes, a linear model.

    Of tokens it reads the mean of the vectors that are learned for them (Joulin et al. 2017), and in tagging each
    token's by itself.
    """

    tasks: ClassVar[tuple[Task, ...]] = (*Model.tasks, "tagging")
    reads = ("numbers", "tokens")

    sizes: tuple[int, ...] = setting((128, 128, 128), "units of each hidden layer", minimum=1, maximum=WIDEST)
    activation: Activation = setting(Sigmoid, "activation of the hidden layers")
    dropout: float = setting(0.0, "share of hidden values set to 0 while training", minimum=0, below=1)
    norm: Literal["none", "batch", "layer"] = setting("none", "normalization before each activation")
    init: Init = setting("xavier_normal", "how weights are drawn; default is torch's own way")
    embedding: int = setting(64, "numbers that stand for a token, in data of tokens", minimum=1, maximum=WIDEST)
    embedding_dropout: float = setting(0.0, "share of these set to 0 while training", minimum=0, below=1)

    def network(self, dataset: Dataset, outputs: int) -> nn.Module:
        from torch import nn

        from bptrain.modules.sequence import SMALL, EachToken, MeanToken, embedding

        if not dataset.vocabulary:
            if dataset.task == "tagging":
                what = f"tags tokens each by itself, and {dataset.name} is data of numbers."
                raise RequestError(Problem("model", f"{self.name} {what}", "model=gru fits."))
            return self.build(dataset.shape, outputs)
        layers = self.build((self.embedding,), outputs)
        table = embedding(len(dataset.vocabulary), self.embedding, self.embedding_dropout, SMALL)
        if dataset.task == "tagging":
            return EachToken(table, layers)
        return nn.Sequential(OrderedDict(embedding=MeanToken(table)) | dict(layers.named_children()))

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        layers = fully_connected(math.prod(shape), self.sizes, self.activation, self.dropout, self.norm)
        initialise(layers, self.init, gain(self.activation))
        head = nn.Linear((math.prod(shape), *self.sizes)[-1], outputs)
        initialise(head, self.init)
        return nn.Sequential(OrderedDict(flatten=nn.Flatten(), layers=layers, head=head))


def fully_connected(
    inputs: int,
    sizes: tuple[int, ...],
    activation: Activation,
    dropout: float,
    norm: Literal["none", "batch", "layer"] = "none",
) -> nn.Sequential:
    """Hidden layers (B, inputs) -> (B, sizes[-1]): linear, normalization, activation, dropout.

    A bias before batch normalization would be subtracted again, so there is none.
    RequestError when the activation can't follow such a layer.
    """
    from torch import nn

    layers = nn.Sequential()
    for size in sizes:
        width = size * activation.widening
        if problem := activation.problem((width,)):
            raise RequestError(problem)
        layer = nn.Sequential(OrderedDict(linear=nn.Linear(inputs, width, bias=norm != "batch")))
        if norm != "none":
            layer.add_module("norm", {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[norm](width))
        layer.add_module("activation", activation.build())
        if dropout:
            layer.add_module("dropout", nn.Dropout(dropout))
        layers.append(layer)
        inputs = size
    return layers
