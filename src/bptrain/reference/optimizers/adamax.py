"""Adamax."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.update import Options, State, Update, counted, descent, zeros


class Adamax(Update, optimizers=[torch.optim.Adamax]):
    """w' = w - lr / (1 - beta1^t) m' / u', with m' = beta1 m + (1 - beta1) g and u' = max(beta2 u, |g| + eps).

    Derivation. Adam with the p-norm of the gradients for the 2-norm: v' = beta2^p v + (1 - beta2^p) |g|^p, and
    v'^(1/p) goes to max(beta2 u, |g|) for large p. It needs no correction: u is a maximum, not a mean.
    torch adds eps to |g| inside the maximum, so that u' is never 0; the paper has none.
    Source: Kingma and Ba, arXiv 1412.6980 (2014), algorithm 2.
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.1, "betas": (0.7, 0.5), "eps": 1e-2, "maximize": True}
        yield {"lr": 0.1, "weight_decay": 0.3}

    @staticmethod
    def start(w: Tensor, **options: float) -> State:
        return dict(zeros(w, "exp_avg", "exp_inf"))

    @staticmethod
    def step(
        w: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        maximize: bool,
    ) -> tuple[Tensor, State]:
        t, step = counted(state)
        g = descent(w, g, weight_decay, maximize)
        beta1, beta2 = betas
        m = beta1 * state["exp_avg"] + (1 - beta1) * g
        u = torch.maximum(beta2 * state["exp_inf"], g.abs() + eps)
        return w - lr / (1 - beta1**t) * (m / u), {"step": step, "exp_avg": m, "exp_inf": u}
