"""Resilient backpropagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bptrain.config.component import setting
from bptrain.errors import Problem, RequestError
from bptrain.optimizers.adam import pair
from bptrain.optimizers.optimizer import TorchOptimizer


@dataclass(frozen=True)
class Rprop(TorchOptimizer, name="rprop"):
    """Each weight has a step of its own, longer where the gradient keeps its sign and shorter where it changes it.

    Of the gradient only the sign counts, and the sign must be that of the whole training part.
    Riedmiller and Braun 1993, in the form iRprop- of Igel and Huesken 2003.
    """

    full_batch: ClassVar[bool] = True
    kernel: ClassVar[dict[str, Any]] = {"foreach": True}

    lr: float = setting(1e-2, "length of the first step of each weight", minimum=0)
    etas: tuple[float, ...] = setting((0.5, 1.2), "factors of a step that was too long, and of the others", above=0)
    step_sizes: tuple[float, ...] = setting((1e-6, 50.0), "the shortest step and the longest", above=0)

    def __post_init__(self) -> None:
        pair("etas", self.etas, "[0.5, 1.2]")
        pair("step_sizes", self.step_sizes, "[1e-6, 50]")
        problems = []
        if not self.etas[0] < 1 < self.etas[1]:
            problems.append(
                Problem("optimizer.etas", "must be a number below 1 and one above.", "[0.5, 1.2] is usual.")
            )
        if self.step_sizes[0] > self.step_sizes[1]:
            what = "must be the shortest step, then the longest."
            problems.append(Problem("optimizer.step_sizes", what, "[1e-6, 50] is usual."))
        if problems:
            raise RequestError(problems)
