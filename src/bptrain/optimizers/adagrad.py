"""Adagrad and its kin: gradients over the root of a sum or a mean of their squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bptrain.config.component import setting
from bptrain.optimizers.adam import pair
from bptrain.optimizers.optimizer import L2, TorchOptimizer


@dataclass(frozen=True)
class Adagrad(TorchOptimizer, name="adagrad"):
    """Gradients over the root of the sum of all their squares (Duchi et al. 2011)."""

    kernel: ClassVar[dict[str, Any]] = {"fused": True}

    lr: float = setting(1e-2, "learning rate", minimum=0)
    lr_decay: float = setting(0.0, "the rate of step t = 0, 1, ... is lr / (1 + t lr_decay)", minimum=0)
    weight_decay: float = setting(0.0, L2, minimum=0)
    initial_accumulator_value: float = setting(0.0, "the sum of squares at the start", minimum=0)
    eps: float = setting(1e-10, "added to the root", minimum=0)


@dataclass(frozen=True)
class RMSprop(TorchOptimizer, name="rmsprop"):
    """Gradients over the root of their running mean square (Hinton's lecture 6e, 2012; centered: Graves 2013)."""

    kernel: ClassVar[dict[str, Any]] = {"foreach": True}

    lr: float = setting(1e-2, "learning rate", minimum=0)
    alpha: float = setting(0.99, "share of the mean square that is kept", minimum=0, below=1)
    eps: float = setting(1e-8, "added to the root", minimum=0)
    weight_decay: float = setting(0.0, L2, minimum=0)
    momentum: float = setting(0.0, "share of the last step that is kept", minimum=0, maximum=1)
    centered: bool = setting(False, "whether the root is that of the variance")


@dataclass(frozen=True)
class Adadelta(TorchOptimizer, name="adadelta"):
    """RMSprop whose rate is the root mean square of the steps so far, and so the unit of weights (Zeiler 2012)."""

    kernel: ClassVar[dict[str, Any]] = {"foreach": True}

    lr: float = setting(1.0, "factor of each step; the method itself has 1", minimum=0)
    rho: float = setting(0.9, "share kept of both mean squares", minimum=0, maximum=1)
    eps: float = setting(1e-6, "added inside both roots", minimum=0)
    weight_decay: float = setting(0.0, L2, minimum=0)


@dataclass(frozen=True)
class Adafactor(TorchOptimizer, name="adafactor"):
    """Gradients over the root of a mean square kept as one number a row and one a column (Shazeer and Stern 2018).

    The rate is min(lr, 1 / sqrt(t)) times the root mean square of the weights, but at least eps[1] of it.
    """

    lr: float = setting(1e-2, "most of the rate that is relative to the weights", minimum=0)
    beta2_decay: float = setting(-0.8, "t to this power is the share of the newest gradient in the means", maximum=0)
    eps: tuple[float | None, ...] = setting(
        (None, 1e-3),
        "least root of the mean square, null for the dtype's epsilon; least size of the weights",
        minimum=0,
    )
    d: float = setting(1.0, "root mean square above which a step is scaled down", minimum=1)
    weight_decay: float = setting(0.0, "share of each weight taken off in a step, times lr", minimum=0)

    def __post_init__(self) -> None:
        pair("eps", self.eps, "[null, 0.001]")
