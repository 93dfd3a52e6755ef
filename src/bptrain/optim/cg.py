"""Nonlinear conjugate gradients."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bptrain.optim.line_search import LineDescent, Point

SLOPE = 0.01  # the next direction descends at least so much, of what the gradient would


class CG(LineDescent):
    """d' = -g' + beta d with beta = max(0, (g' - g) g' / g g), at first d = -g.

    A point is taken if d' g' <= -0.01 g' g' there, which the Wolfe conditions alone do not promise, or if no gradient
    is above gtol. Source: Polak and Ribiere (1969); beta >= 0 and the condition: Gilbert and Nocedal, SIAM J.
    Optimization 2 (1992).
    """

    def __init__(self, params: Any, gtol: float = 1e-5, c1: float = 1e-4, c2: float = 0.4) -> None:
        super().__init__(params, gtol, c1, c2)

    def start(self, g: Tensor) -> dict[str, Tensor]:
        return {"d": -g}

    def direction(self, kept: dict[str, Tensor], g: Tensor) -> Tensor:
        return kept["d"]

    def moved(self, kept: dict[str, Tensor], d: Tensor, here: Point, there: Point) -> dict[str, Tensor]:
        g, new = here.gradient, there.gradient
        beta = ((new - g).dot(new) / g.dot(g)).clamp(min=0)
        return {"d": beta * d - new}

    def allows(self, d: Tensor, here: Point, there: Point) -> bool:
        g = there.gradient
        if g.abs().max() <= self.param_groups[0]["gtol"]:
            return True
        return bool(self.moved({}, d, here, there)["d"].dot(g) <= -SLOPE * g.dot(g))
