"""Quasi-Newton methods: a model of the curvature, built from gradients alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.errors import Problem, RequestError
from bptrain.optimizers.line_descent import LineDescent
from bptrain.optimizers.optimizer import TorchOptimizer

if TYPE_CHECKING:
    import torch
    from torch.nn import Parameter

MOST = 5_000  # weights that BFGS takes: their matrix has 200 MB, and a check works on twenty of it


@dataclass(frozen=True)
class LBFGS(TorchOptimizer, name="lbfgs"):
    """Limited-memory BFGS: a quasi-Newton method on the whole training part (Liu and Nocedal 1989).

    One step of it makes up to max_iter iterations. https://pytorch.org/docs/stable/generated/torch.optim.LBFGS.html
    """

    full_batch: ClassVar[bool] = True
    closure: ClassVar[bool] = True

    lr: float = setting(1.0, "learning rate; with strong_wolfe, the first length tried", minimum=0)
    max_iter: int = setting(20, "iterations in one step", minimum=1)
    tolerance_grad: float = setting(1e-7, "a step ends when no gradient is above this", minimum=0)
    tolerance_change: float = setting(1e-9, "a step ends when weights and loss change by less than this", minimum=0)
    history_size: int = setting(100, "past iterations that are remembered", minimum=1)
    line_search_fn: Literal["strong_wolfe"] | None = setting(
        None, "how the length of an iteration is found; null is lr"
    )


@dataclass(frozen=True)
class BFGS(LineDescent, name="bfgs"):
    """The inverse Hessian as the steps so far show it, times the gradient (Broyden, Fletcher, Goldfarb, Shanno 1970).

    It is kept whole, as a matrix of all weights by all weights: for small networks.
    """

    c2: float = setting(0.9, "share of the slope that a step may leave", above=0, below=1)

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        from bptrain.optim.bfgs import BFGS

        given = list(parameters)
        n = sum(p.numel() for p in given)
        if n > MOST:
            what = f"bfgs keeps {n:,} x {n:,} numbers, {8e-9 * n * n:.1f} GB, for the {n:,} weights of the model."
            cure = f"Up to {MOST:,} it takes; optimizer=lbfgs or cg takes more."
            raise RequestError(Problem("optimizer", what, cure))
        return BFGS(given, self.gtol, self.c1, self.c2)
