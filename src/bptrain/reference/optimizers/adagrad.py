"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.update import Options, State, Update, counted, descent, zeros


class Adagrad(Update, optimizers=[torch.optim.Adagrad]):
    """w' = w - lr / (1 + (t - 1) lr_decay) g / (sqrt(s') + eps), with s' = s + g^2.

    The first s is initial_accumulator_value. A sparse gradient is one with zeros: they change neither s nor w.
    Derivation. Of all diagonal metrics of a given trace, the one of the roots of the sums of squares has the least
    bound on the regret.
    Source: Duchi, Hazan and Singer, JMLR 12 (2011), figure 1, diagonal.
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.1, "lr_decay": 0.2, "eps": 1e-2, "maximize": True}
        yield {"lr": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.3}

    @staticmethod
    def start(w: Tensor, *, initial_accumulator_value: float, **options: float) -> State:
        return {**dict(zeros(w)), "sum": torch.full_like(w, initial_accumulator_value)}

    @staticmethod
    def step(
        w: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: float,
        lr_decay: float,
        weight_decay: float,
        initial_accumulator_value: float,
        eps: float,
        maximize: bool,
    ) -> tuple[Tensor, State]:
        t, step = counted(state)
        g = descent(w, g, weight_decay, maximize)
        s = state["sum"] + g * g
        return w - lr / (1 + (t - 1) * lr_decay) * (g / (s.sqrt() + eps)), {"step": step, "sum": s}
