"""Variational autoencoder (Kingma and Welling 2014, Rezende, Mohamed and Wierstra 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset, Task, unsupervised
from bptrain.errors import Problem, RequestError
from bptrain.models.autoencoder import Autoencoder

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class VAE(Autoencoder, name="vae"):
    """An autoencoder whose encoder gives the mean and the variance of each number of the code.

    The code is drawn from that normal distribution, and the encoder learns through the draw (reparametrisation).
    Training minimises minus the bound on log p(x) that modules/vae.py has, loss=elbo. Bernoulli is for values from 0 to
    1, gaussian for any. Whatever the data's targets are, the inputs take their place.
    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, equation 10 and appendix B.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("density",)

    likelihood: Literal["bernoulli", "gaussian"] = setting("bernoulli", "distribution of each value given the code")

    def prepared(self, dataset: Dataset) -> Dataset:
        return unsupervised(dataset, "density")

    def network(self, dataset: Dataset, outputs: int) -> nn.Module:
        for name, part in dataset.parts.items() if self.likelihood == "bernoulli" else ():
            low, high = (bound.item() for bound in part.inputs.aminmax())
            if not 0 <= low <= high <= 1:
                has = f"the {name} part of {dataset.name} has {low:.3g} to {high:.3g}"
                cure = "Write model.likelihood=gaussian, or data.standardize=false where they are pixels."
                raise RequestError(
                    Problem("model.likelihood", f"bernoulli is for values from 0 to 1, and {has}.", cure)
                )
        return self.build(dataset.shape, outputs)

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        from bptrain.modules import vae

        return vae.VAE(*self.halves(shape, 2 * self.code), self.likelihood)
