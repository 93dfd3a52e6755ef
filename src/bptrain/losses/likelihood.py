"""The likelihood of numbers, from models that give their distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bptrain.data.dataset import Dataset, Task
from bptrain.losses.loss import Loss

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MarginalLikelihood(Loss, name="marginal_likelihood"):
    """Minus the logarithm of the marginal likelihood of the whole training part, over its rows; of model=gp.

    It takes all rows at once, whatever `fit.batch_size` is. In evaluation it is the negative log predictive density.
    Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), 2.3 and 5.4.1.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("regression", "forecasting")
    full_batch: ClassVar[bool] = True

    def output_shape(self, dataset: Dataset) -> None:
        return None

    def build(self, dataset: Dataset) -> nn.Module:
        from bptrain.modules import marginal_likelihood

        return marginal_likelihood.MarginalLikelihood()
