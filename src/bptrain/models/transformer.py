"""Transformer: a small pre-norm encoder over signals, the rows of images, or tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset, Task
from bptrain.errors import Problem, RequestError
from bptrain.models.model import WIDEST, Model
from bptrain.models.recurrent import answers_each, steps_in

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Transformer(Model, name="transformer"):
    """Blocks of attention and of a network for each step: x + A(N(x)), then x + F(N(x)), N layer normalization.

    A is multi-head attention of each step to all others, F = linear, activation, linear (Vaswani et al. 2017);
    normalization comes first in each branch (Xiong et al. 2020), and once more after the last block.
    Reads (channels, length) as `length` steps, (channels, height, width) as `height` steps of a row each, and tokens
    (length,) up to the end of each sequence; what comes after it is attended to by no step.
    """

    tasks: ClassVar[tuple[Task, ...]] = (*Model.tasks, "tagging")
    reads = ("numbers", "tokens")

    width: int = setting(64, "numbers that stand for a step", minimum=1, maximum=WIDEST)
    heads: int = setting(4, "heads of attention, of which each has an equal part of the width", minimum=1)
    layers: int = setting(2, "blocks, one over the other", minimum=1, maximum=1024)
    hidden: int = setting(128, "units of the hidden layer in each block", minimum=1, maximum=WIDEST)
    activation: Literal["relu", "gelu"] = setting("relu", "activation of these units")
    dropout: float = setting(0.1, "share of values set to 0 while training", minimum=0, below=1)
    positions: Literal["sinusoidal", "learned", "none"] = setting(
        "sinusoidal", "what tells the steps apart: fixed waves, or a vector for each that is learned"
    )
    output: Literal["last", "mean", "every", "each"] = setting(
        "mean", "what the head sees: the last state, the mean, every state at once, or each by itself to tag it"
    )

    def __post_init__(self) -> None:
        if self.width % self.heads:
            what = f"is {self.heads}, which does not divide model.width={self.width}."
            raise RequestError(Problem("model.heads", what, "Write a number that does."))

    def network(self, dataset: Dataset, outputs: int) -> nn.Module:
        answers_each(self.output, dataset)
        return self.build(dataset.shape, outputs, len(dataset.vocabulary))

    def build(self, shape: tuple[int, ...], outputs: int, vocabulary: int = 0) -> nn.Module:
        """As any model; of tokens, there are `vocabulary` kinds, and (B, length) -> (B, outputs)."""
        import torch
        from torch import nn

        from bptrain.modules.sequence import SMALL, embedding
        from bptrain.modules.transformer import TransformerNetwork, sinusoids

        steps = steps_in(self.name, shape, vocabulary)
        reader = (
            embedding(vocabulary, self.width, self.dropout, SMALL)
            if vocabulary
            else nn.Linear(math.prod(shape) // steps, self.width)
        )
        positions = {
            "sinusoidal": lambda: sinusoids(steps, self.width),
            "learned": lambda: nn.Parameter(torch.randn(steps, self.width)),
            "none": lambda: None,
        }[self.positions]()
        blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                self.width,
                self.heads,
                self.hidden,
                self.dropout,
                self.activation,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(self.layers)
        )
        head = nn.Linear(self.width * (steps if self.output == "every" else 1), outputs)
        return TransformerNetwork(reader, positions, blocks, nn.LayerNorm(self.width), head, self.output)
