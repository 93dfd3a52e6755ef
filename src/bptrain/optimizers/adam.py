"""Adam and its kin: running means of the gradient and of its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bptrain.config.component import setting
from bptrain.errors import Problem, RequestError
from bptrain.optimizers.optimizer import L2, TorchOptimizer

DECOUPLED = "whether weight decay shrinks the weights themselves, apart from the gradient"


def pair(name: str, values: tuple[float | None, ...], usual: str) -> None:
    """RequestError unless a setting has two numbers."""
    if len(values) != 2:
        what = f"must be two numbers, not {len(values)}."
        raise RequestError(Problem(f"optimizer.{name}", what, f"{usual} is usual."))


@dataclass(frozen=True)
class TwoMeans(TorchOptimizer):
    """What all of them have: two means, and an eps that keeps the quotient of them finite."""

    kernel: ClassVar[dict[str, Any]] = {"foreach": True}

    lr: float = setting(1e-3, "learning rate", minimum=0)
    betas: tuple[float, ...] = setting(
        (0.9, 0.999), "shares kept of the mean and of the mean square", minimum=0, below=1
    )
    eps: float = setting(1e-8, "added to the root", minimum=0)
    weight_decay: float = setting(0.0, L2, minimum=0)

    def __post_init__(self) -> None:
        pair("betas", self.betas, "[0.9, 0.999]")


@dataclass(frozen=True)
class Adam(TwoMeans, name="adam"):
    """Running mean of the gradient over the root of that of its square (Kingma and Ba 2015).

    Both means start at 0, and are divided by 1 - beta^t, so that this is not felt at step t.
    """

    kernel: ClassVar[dict[str, Any]] = {"fused": True}

    amsgrad: bool = setting(False, "whether the greatest mean square so far is used (Reddi et al. 2018)")


@dataclass(frozen=True)
class AdamW(Adam, name="adamw"):
    """Adam with weight decay apart from the gradient: w <- w - lr weight_decay w first (Loshchilov and Hutter 2019)."""

    weight_decay: float = setting(1e-2, "share of each weight taken off in a step, times lr", minimum=0)


@dataclass(frozen=True)
class Adamax(TwoMeans, name="adamax"):
    """Running mean of the gradient over its largest size so far (Kingma and Ba 2015).

    What was largest is beta2 times less a step later, so that it is forgotten.
    """

    lr: float = setting(2e-3, "learning rate", minimum=0)
    betas: tuple[float, ...] = setting(
        (0.9, 0.999), "shares kept of the mean and of the largest gradient", minimum=0, below=1
    )
    eps: float = setting(1e-8, "added to the size of the gradient", minimum=0)


@dataclass(frozen=True)
class NAdam(TwoMeans, name="nadam"):
    """Adam with Nesterov's momentum, which takes the part of the mean that is to come (Dozat 2016)."""

    lr: float = setting(2e-3, "learning rate", minimum=0)
    momentum_decay: float = setting(4e-3, "how fast beta1 rises, from half of it", minimum=0)
    decoupled_weight_decay: bool = setting(False, DECOUPLED)


@dataclass(frozen=True)
class RAdam(TwoMeans, name="radam"):
    """Adam that makes its first steps shorter, while the mean square is one of few gradients (Liu et al. 2020)."""

    decoupled_weight_decay: bool = setting(False, DECOUPLED)
