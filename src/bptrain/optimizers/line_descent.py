"""Methods of scipy.optimize.minimize: a direction, and a line search for how far to go along it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bptrain.config.component import setting
from bptrain.errors import Problem, RequestError
from bptrain.optimizers.optimizer import Optimizer


@dataclass(frozen=True)
class LineDescent(Optimizer):
    """One iteration of scipy.optimize.minimize a step, on the whole training part; fit.epochs is its maxiter.

    Steps satisfy the strong Wolfe conditions. Training stops before fit.epochs when no gradient is above gtol, or
    when no step lowers the loss any more. https://docs.scipy.org/doc/scipy/reference/generated/scipy.optimize.minimize.html
    """

    full_batch: ClassVar[bool] = True
    closure: ClassVar[bool] = True
    line_search: ClassVar[bool] = True

    gtol: float = setting(1e-5, "training stops when no gradient is above this", minimum=0)
    c1: float = setting(1e-4, "least descent of a step, as a share of what the slope promises", above=0, below=1)
    c2: float = setting(0.4, "share of the slope that a step may leave", above=0, below=1)

    def __post_init__(self) -> None:
        if self.c1 >= self.c2:
            what = f"must be below optimizer.c2, which is {self.c2:g}: else no step may satisfy both conditions."
            raise RequestError(Problem("optimizer.c1", what))
