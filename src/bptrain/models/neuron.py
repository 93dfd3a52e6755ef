"""A single neuron: weights, a bias, and a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.data.dataset import Task
from bptrain.errors import Problem, RequestError
from bptrain.models.init import Init, initialise
from bptrain.models.model import Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Neuron(Model, name="neuron"):
    """One unit s(w x + b), s(z) = 1 / (1 + exp(-z)), which answers 1 where s is above 1/2: a threshold on z at 0.

    Its output is z, of which loss=bce takes the sigmoid. With `step=hard` it answers 1 or 0 while training too. Such a
    step has the derivative 0; in its place the gradient of s goes back, straight through (Bengio, Leonard and
    Courville, arXiv 1308.3432), and the output is the answer as a logit of +1 or -1.
    Rosenblatt, "The Perceptron" (1958); Widrow and Hoff, "Adaptive Switching Circuits" (1960).
    """

    tasks: ClassVar[tuple[Task, ...]] = ("classification",)

    step: Literal["soft", "hard"] = setting("soft", "what is answered while training: s itself, or 1 or 0")
    init: Init = setting("default", "how weights are drawn; default is torch's own way")

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        from bptrain.modules.neuron import Neuron

        if outputs != 1:
            what = f"is one unit, and {outputs} outputs are needed."
            raise RequestError(Problem("model", f"neuron {what}", "Write loss=bce, and data of two classes."))
        network = Neuron(math.prod(shape), self.step == "hard")
        initialise(network, self.init)
        return network
