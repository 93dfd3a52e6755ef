"""Recurrent networks: the simple (Elman) network, GRU and LSTM, over signals, the rows of images, or tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset, Task
from bptrain.errors import Problem, RequestError
from bptrain.models.init import Init, initialise
from bptrain.models.model import WIDEST, Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Recurrent(Model):
    """Reads (channels, length) as `length` steps, and (channels, height, width) as `height` steps of a row each.

    Tokens (length,) are read up to the end of each sequence, each as a vector that is learned.
    A subclass bears the name of a class of torch.nn, and its own fields are arguments of that class.
    `output=last` gives the head the final state of the last layer, of each direction: that of the
    reverse one has read the sequence back to its first step. `output=every` gives it the states of all steps,
    `output=mean` their mean. `output=each` gives it each state by itself, for data of tagging: (B, T, outputs).
    """

    tasks: ClassVar[tuple[Task, ...]] = (*Model.tasks, "tagging")
    reads = ("numbers", "tokens")

    hidden: int = setting(64, "units of each layer and direction", minimum=1, maximum=WIDEST)
    layers: int = setting(1, "recurrent layers, one over the other", minimum=1, maximum=1024)
    bidirectional: bool = setting(False, "whether a second network reads from the end")
    dropout: float = setting(0.0, "share of values set to 0 between layers while training", minimum=0, below=1)
    output: Literal["last", "mean", "every", "each"] = setting(
        "last", "what the head sees: the last state, the mean, every state at once, or each by itself to tag it"
    )
    head_dropout: float = setting(0.0, "share of what the head sees set to 0 while training", minimum=0, below=1)
    embedding: int = setting(64, "numbers that stand for a token, in data of tokens", minimum=1, maximum=WIDEST)
    embedding_dropout: float = setting(0.0, "share of these set to 0 while training", minimum=0, below=1)
    init: Init = setting("default", "how weights are drawn; default is torch's own way")

    def __post_init__(self) -> None:
        if self.dropout and self.layers == 1:
            what = "acts between recurrent layers, and model.layers=1 leaves no place for it."
            raise RequestError(Problem("model.dropout", what, "Write model.layers=2 or model.dropout=0."))

    def options(self) -> dict[str, Any]:
        """Arguments of torch's class that only this kind of network has."""
        return {}

    def network(self, dataset: Dataset, outputs: int) -> nn.Module:
        answers_each(self.output, dataset)
        return self.build(dataset.shape, outputs, len(dataset.vocabulary))

    def build(self, shape: tuple[int, ...], outputs: int, vocabulary: int = 0) -> nn.Module:
        """As any model; of tokens, there are `vocabulary` kinds, and (B, length) -> (B, outputs)."""
        from torch import nn

        from bptrain.modules.recurrent import SequenceNetwork
        from bptrain.modules.sequence import SMALL, embedding

        steps = steps_in(self.name, shape, vocabulary)
        layers = getattr(nn, type(self).__name__)(
            self.embedding if vocabulary else math.prod(shape) // steps,
            self.hidden,
            self.layers,
            dropout=self.dropout,
            bidirectional=self.bidirectional,
            batch_first=True,
            **self.options(),
        )
        width = self.hidden * (2 if self.bidirectional else 1)
        head = nn.Linear(width * steps if self.output == "every" else width, outputs)
        initialise(layers, self.init)
        initialise(head, self.init)
        table = embedding(vocabulary, self.embedding, self.embedding_dropout, SMALL) if vocabulary else None
        return SequenceNetwork(layers, head, self.output, table, self.head_dropout)


def steps_in(name: str, shape: tuple[int, ...], vocabulary: int) -> int:
    """The steps of an input: tokens, values of signals, rows of images. RequestError when it is none of these."""
    if vocabulary:
        return shape[0]
    if len(shape) not in (2, 3):
        what = f"{name} needs signals (channels, length) or images (channels, height, width), not inputs of {shape}."
        raise RequestError(Problem("model", what, "model=mlp fits."))
    return shape[1]


def answers_each(output: str, dataset: Dataset) -> None:
    """RequestError unless the head answers at each step just where the data asks for that."""
    if (output == "each") != (dataset.task == "tagging"):
        what = f"is {output}, and {dataset.name} is data for {dataset.task}."
        instead = "Write each." if dataset.task == "tagging" else "Write last, mean or every."
        raise RequestError(Problem("model.output", what, instead))


@dataclass(frozen=True)
class RNN(Recurrent, name="rnn"):
    """h_t = tanh(W x_t + U h_(t-1) + b), or with ReLU (Elman 1990)."""

    nonlinearity: Literal["tanh", "relu"] = setting("tanh", "activation of the units")

    def options(self) -> dict[str, Any]:
        return {"nonlinearity": self.nonlinearity}


@dataclass(frozen=True)
class GRU(Recurrent, name="gru"):
    """Gated recurrent units (Cho et al. 2014), in the form of torch.nn.GRU."""


@dataclass(frozen=True)
class LSTM(Recurrent, name="lstm"):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, Gers et al. 2000), as in torch.nn.LSTM."""
