"""Restricted Boltzmann machine (Smolensky 1986), trained by contrastive divergence or by the exact gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset, Task, unsupervised
from bptrain.errors import Problem, RequestError
from bptrain.models.model import WIDEST, Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class RBM(Model, name="rbm"):
    """A distribution over values 0 and 1: hidden binary units, each joined to every value; loss=contrastive_divergence.

    The negative log-likelihood is exact where the machine is small enough to sum over all states of one side (up to 20
    units, see modules/rbm.py), else it is estimated by annealed importance sampling. Whatever the data's targets are,
    the inputs take their place.
    Sources: Hinton, "Training Products of Experts by Minimizing Contrastive Divergence" (2002); Tieleman, "Training
    Restricted Boltzmann Machines using Approximations to the Likelihood Gradient" (2008).
    """

    tasks: ClassVar[tuple[Task, ...]] = ("density",)

    hidden: int = setting(64, "hidden units", minimum=1, maximum=WIDEST)
    steps: int = setting(1, "steps of Gibbs sampling in a step of training, the k of CD-k", minimum=1)
    persistent: bool = setting(False, "whether chains go on from step to step, instead of starting at the data")
    chains: int = setting(100, "chains where they are persistent", minimum=1)
    exact: bool = setting(False, "whether the gradient is that of the likelihood itself, of a small machine")

    def __post_init__(self) -> None:
        if self.exact and self.persistent:
            raise RequestError(
                Problem(
                    "model.exact", "needs no chains, and model.persistent=true asks for some.", "Write one of them."
                )
            )

    def prepared(self, dataset: Dataset) -> Dataset:
        return unsupervised(dataset, "density")

    def network(self, dataset: Dataset, outputs: int) -> nn.Module:
        for name, part in dataset.parts.items():
            if not ((part.inputs == 0) | (part.inputs == 1)).all():
                what = f"rbm has units of 0 and 1, and the {name} part of {dataset.name} has other values."
                cure = "For images write data.binarize=0.5 and data.standardize=false."
                raise RequestError(Problem("model", what, cure))
        return self.build(dataset.shape, outputs)

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        from bptrain.modules import rbm

        visible = math.prod(shape)
        if self.exact and not rbm.enumerable(visible, self.hidden):
            what = f"can't sum over the states of {self.hidden} hidden and {visible} visible units."
            raise RequestError(Problem("model.exact", what, "Write model.hidden=16, or model.exact=false."))
        return rbm.RBM(visible, self.hidden, self.steps, self.chains if self.persistent else 0, self.exact)
