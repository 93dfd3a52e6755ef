"""Adadelta."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.update import Options, State, Update, counted, descent, zeros


class Adadelta(Update, optimizers=[torch.optim.Adadelta]):
    """w' = w - lr d, with d = sqrt(u + eps) / sqrt(v' + eps) g and

        v' = rho v + (1 - rho) g^2        u' = rho u + (1 - rho) d^2.

    Derivation. A step should have the unit of w: g over its root mean square has none, and the root mean square of
    the steps so far gives it that unit. eps is inside both roots, and is what starts the first step.
    Source: Zeiler, arXiv 1212.5701 (2012), algorithm 1, where lr is 1.
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 1.0}
        yield {"lr": 0.5, "rho": 0.7, "eps": 1e-2, "maximize": True}
        yield {"lr": 2.0, "weight_decay": 0.3}

    @staticmethod
    def start(w: Tensor, **options: float) -> State:
        return dict(zeros(w, "square_avg", "acc_delta"))

    @staticmethod
    def step(
        w: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: float,
        rho: float,
        eps: float,
        weight_decay: float,
        maximize: bool,
    ) -> tuple[Tensor, State]:
        _, step = counted(state)
        g = descent(w, g, weight_decay, maximize)
        v = rho * state["square_avg"] + (1 - rho) * g * g
        d = (state["acc_delta"] + eps).sqrt() / (v + eps).sqrt() * g
        u = rho * state["acc_delta"] + (1 - rho) * d * d
        return w - lr * d, {"step": step, "square_avg": v, "acc_delta": u}
