"""Gradient descent: on batches, on the whole training part, with momentum, with an average."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bptrain.config.component import setting
from bptrain.errors import Problem, RequestError
from bptrain.optimizers.optimizer import L2, Optimizer, TorchOptimizer

if TYPE_CHECKING:
    import torch
    from torch.nn import Parameter


@dataclass(frozen=True)
class SGD(TorchOptimizer, name="sgd"):
    """Stochastic gradient descent, with momentum if wanted.

    v <- momentum v + (1 - dampening) g, where the first v is g; w <- w - lr v, or - lr (g + momentum v) with nesterov.
    """

    kernel: ClassVar[dict[str, Any]] = {"fused": True}

    lr: float = setting(1e-3, "learning rate", minimum=0)
    momentum: float = setting(0.0, "share of the last step that is kept", minimum=0, maximum=1)
    dampening: float = setting(0.0, "share of the gradient that momentum leaves out", minimum=0, maximum=1)
    weight_decay: float = setting(0.0, L2, minimum=0)
    nesterov: bool = setting(False, "whether the gradient is taken as if momentum had acted; needs momentum")

    def __post_init__(self) -> None:
        problems = []
        if self.nesterov and not self.momentum:
            what = "looks ahead along the momentum, and there is none."
            problems.append(Problem("optimizer.nesterov", what, "optimizer.momentum=0.9 gives some."))
        if self.nesterov and self.dampening:
            problems.append(Problem("optimizer.dampening", "must be 0 with optimizer.nesterov=true."))
        if problems:
            raise RequestError(problems)


@dataclass(frozen=True)
class Delta(Optimizer, name="delta"):
    """The generalized delta rule: a step along the gradient of the batch, plus a share of the step before.

    step <- momentum step - lr g, w <- w + step: `sgd` with momentum under the name that it was first given, by
    Rumelhart, Hinton and Williams, Learning internal representations by error propagation, in Parallel Distributed
    Processing 1 (1986).
    """

    lr: float = setting(0.1, "learning rate, the rule's eta", minimum=0)
    momentum: float = setting(0.9, "share of the last step that is kept, the rule's alpha", minimum=0, maximum=1)

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        return SGD(self.lr, self.momentum).build(parameters)


@dataclass(frozen=True)
class GD(Optimizer, name="gd"):
    """Gradient descent on the whole training part: one step an epoch (Cauchy 1847)."""

    full_batch: ClassVar[bool] = True

    lr: float = setting(1e-3, "learning rate", minimum=0)
    momentum: float = setting(0.0, "share of the last step that is kept", minimum=0, maximum=1)
    weight_decay: float = setting(0.0, L2, minimum=0)

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        return SGD(self.lr, self.momentum, weight_decay=self.weight_decay).build(parameters)


@dataclass(frozen=True)
class ASGD(TorchOptimizer, name="asgd"):
    """Averaged stochastic gradient descent (Polyak and Juditsky 1992).

    w <- (1 - lambd eta) w - eta g with eta = lr / (1 + lambd lr t)^alpha. From step t0 on the mean of all w is kept
    too, as the entry `ax` of the state; as in torch, it is not what predicts.
    """

    lr: float = setting(1e-2, "learning rate", minimum=0)
    lambd: float = setting(1e-4, "share of each weight taken off in a step, times the rate", minimum=0)
    alpha: float = setting(0.75, "power by which the rate falls", minimum=0)
    t0: float = setting(1e6, "step from which weights are averaged", minimum=0, unit="steps")
    weight_decay: float = setting(0.0, L2, minimum=0)
