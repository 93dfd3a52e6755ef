"""Continuous-time recurrent network: an ordinary differential equation whose right side is a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bptrain.config.component import setting
from bptrain.errors import Problem, RequestError
from bptrain.models.model import WIDEST, Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class CTRNN(Model, name="ctrnn"):
    """tau dh/dt = -h + tanh(W h + U x + b), solved in steps of dt and trained through the solver.

    Funahashi and Nakamura, "Approximation of dynamical systems by continuous time recurrent neural networks" (1993);
    Beer, "On the dynamics of small continuous-time recurrent neural networks" (1995). Signals (channels, length) drive
    it, a value for `substeps` steps each, and the head sees the last state. Rows (F,) are where it starts from, by a
    linear map; it runs freely, and the head gives outputs / `points` numbers at each of as many points in time.
    """

    hidden: int = setting(32, "units", minimum=1, maximum=WIDEST)
    tau: float = setting(1.0, "time constant that each unit starts with; they are learned", above=0)
    dt: float = setting(0.1, "time of a step of the solver", above=0)
    substeps: int = setting(1, "steps of the solver for a value of the signal, or between two points", minimum=1)
    points: int = setting(1, "points in time at which the head reads a free run", minimum=1, maximum=WIDEST)
    solver: Literal["euler", "rk4"] = setting("rk4", "Euler's method, or the classical one of Runge and Kutta")
    adjoint: bool = setting(False, "whether the backward pass solves the adjoint equation, and keeps states alone")

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        from bptrain.modules import ctrnn

        free = len(shape) == 1
        if len(shape) > 2:
            what = f"ctrnn needs signals (channels, length) or rows (features,), not inputs of {shape}."
            raise RequestError(Problem("model", what, "model=cnn fits."))
        points = self.points if free else 1
        if outputs % points:
            what = f"{points} does not divide the {outputs} outputs."
            raise RequestError(Problem("model.points", what, "Write how many points in time they belong to."))
        return ctrnn.CTRNN(
            math.prod(shape[:1]),
            self.hidden,
            outputs // points,
            points if free else None,
            tau=self.tau,
            dt=self.dt,
            substeps=self.substeps,
            scheme={"euler": ctrnn.EULER, "rk4": ctrnn.RK4}[self.solver],
            adjoint=self.adjoint,
        )
