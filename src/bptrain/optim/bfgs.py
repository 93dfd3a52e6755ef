"""BFGS."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bptrain.optim.line_search import LineDescent, Point


class BFGS(LineDescent):
    """d = -H g, where H (N, N) is the inverse Hessian as the steps so far show it, at first the identity.

    With s = t d and y = g' - g: H' = (I - r s y^T) H (I - r y s^T) + r s s^T, r = 1 / y s, which is above 0 by the
    second Wolfe condition. Multiplied out, H' = H + s a^T + a s^T with a = (r + r^2 y H y) s / 2 - r H y: no product of
    matrices. Source: Broyden, Fletcher, Goldfarb and Shanno, all 1970; Nocedal and Wright (2006), equation 6.17.
    """

    def __init__(self, params: Any, gtol: float = 1e-5, c1: float = 1e-4, c2: float = 0.9) -> None:
        super().__init__(params, gtol, c1, c2)

    def start(self, g: Tensor) -> dict[str, Tensor]:
        return {"H": torch.eye(len(g), dtype=g.dtype, device=g.device)}

    def direction(self, kept: dict[str, Tensor], g: Tensor) -> Tensor:
        return -(kept["H"] @ g)

    def moved(self, kept: dict[str, Tensor], d: Tensor, here: Point, there: Point) -> dict[str, Tensor]:
        h, s, y = kept["H"], there.t * d, there.gradient - here.gradient
        r, hy = 1 / y.dot(s), h @ y
        a = (r + r * r * y.dot(hy)) / 2 * s - r * hy
        return {"H": h.addmm_(torch.stack([s, a], 1), torch.stack([a, s]))}  # (N, 2) (2, N) -> (N, N)
