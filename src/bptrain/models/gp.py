"""Gaussian process: exact regression, its kernel spelled as a tree of named ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset, Task
from bptrain.errors import Problem, RequestError
from bptrain.models.custom import Custom
from bptrain.models.kernel import Kernel, Sum
from bptrain.models.model import WIDEST, Model

if TYPE_CHECKING:
    from torch import nn

MOST = 8192  # rows: their covariances take 512 MiB in float64, their factorization 2e11 multiplications


@dataclass(frozen=True)
class GaussianProcess(Model, name="gp"):
    """Predicts from all of the training part; trained with loss=marginal_likelihood.

    Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006). With `features` the kernel sees what that
    network makes of the inputs, a deep kernel (Wilson et al., "Deep Kernel Learning", 2016).
    """

    tasks: ClassVar[tuple[Task, ...]] = ("regression", "forecasting")

    kernel: Kernel = setting(Sum, "the covariance of the function's values, with noise")
    mean: Literal["zero", "constant"] = setting("zero", "the function's mean before any data; constant is learned")
    jitter: float = setting(1e-6, "added to each variance, so that rounding leaves a factorization", minimum=0)
    features: Model | None = setting(None, "a network in front of the kernel, such as {name: mlp}; null for none")
    width: int = setting(2, "numbers that this network gives", minimum=1, maximum=WIDEST)

    def __post_init__(self) -> None:
        if self.features is None:
            return
        # The code of a custom network needs trust, which is given to the model alone.
        if isinstance(self.features, Custom | GaussianProcess) or "regression" not in self.features.tasks:
            what = f"can't be {self.features.name}: a kernel takes numbers that a network makes of its inputs."
            raise RequestError(Problem("model.features", what, "Write {name: mlp}, say."))

    def network(self, dataset: Dataset, outputs: int) -> nn.Module:
        rows = len(dataset.parts["train"])
        if rows > MOST:
            what = f"takes the covariances of all rows, at most {MOST}, and {dataset.name} has {rows} to train on."
            raise RequestError(Problem("model", what, "model=mlp fits."))
        return self.build(dataset.shape, outputs)

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        from bptrain.modules.gaussian_process import GaussianProcess as Module

        if outputs != 1:
            what = f"predicts one number, and the data has {outputs} columns of targets."
            raise RequestError(Problem("model", what, "model=mlp fits."))
        features = None if self.features is None else self.features.build(shape, self.width)
        kernel = self.kernel.build(math.prod(shape) if features is None else self.width)
        return Module(kernel, self.mean == "constant", features, self.jitter)
