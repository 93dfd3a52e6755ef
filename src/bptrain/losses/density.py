"""Losses of densities, from what their models give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset, Task
from bptrain.losses.loss import Loss

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ELBO(Loss, name="elbo"):
    """Minus the evidence lower bound of model=vae in nats: mean of -log p(x|z) + beta KL(q(z|x) || p(z)).

    Kingma and Welling 2014; beta other than 1 is Higgins et al. 2017, and no bound below 1.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("density",)

    beta: float = setting(1.0, "weight of the divergence of the code from its prior", minimum=0)

    def output_shape(self, dataset: Dataset) -> tuple[int, ...]:
        return (2,)

    def build(self, dataset: Dataset) -> nn.Module:
        from bptrain.modules import density_loss

        return density_loss.ELBO(self.beta)


@dataclass(frozen=True)
class ContrastiveDivergence(Loss, name="contrastive_divergence"):
    """Mean free energy of the data minus that of what model=rbm itself makes, F(v) - F(v').

    Its gradient is the estimate of Hinton, "Training Products of Experts by Minimizing Contrastive Divergence" (2002),
    where v' is the end of a chain that started at the data, of Tieleman (2008) where chains go on from step to step,
    and that of the negative log-likelihood itself where the model is exact, which then gives -log Z for F(v').
    """

    tasks: ClassVar[tuple[Task, ...]] = ("density",)

    def output_shape(self, dataset: Dataset) -> None:
        return None

    def build(self, dataset: Dataset) -> nn.Module:
        from bptrain.modules import density_loss

        return density_loss.ContrastiveDivergence()
