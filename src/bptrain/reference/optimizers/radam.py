"""RAdam."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.update import Options, State, Update, counted, descent, zeros


class RAdam(Update, optimizers=[torch.optim.RAdam]):
    """w' = w - lr m^ r sqrt(1 - beta2^t) / (sqrt(v') + eps) where rho_t > 5, else w - lr m^, with

        rho_inf = 2 / (1 - beta2) - 1        rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t)
        r = sqrt((rho_t - 4)(rho_t - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho_t))
    and m', m^, v' those of Adam.

    Derivation. v^ is a mean of about rho_t squares, so 1 / sqrt(v^) is spread like the inverse root of a scaled
    chi-square of rho_t degrees, whose variance exists for rho_t > 4; r brings that variance to its value at
    rho_inf. torch changes over at 5, and adds eps before the correction.
    Source: Liu et al., arXiv 1908.03265 (2019), algorithm 2; decoupled weight decay as in AdamW.
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-2, "maximize": True}
        yield {"lr": 0.1, "betas": (0.9, 0.95), "weight_decay": 0.3}
        yield {"lr": 0.1, "betas": (0.9, 0.7), "weight_decay": 0.3, "decoupled_weight_decay": True}

    @staticmethod
    def start(w: Tensor, **options: float) -> State:
        return dict(zeros(w, "exp_avg", "exp_avg_sq"))

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
        decoupled_weight_decay: bool,
    ) -> tuple[Tensor, State]:
        t, step = counted(state)
        g = descent(w, g, 0.0 if decoupled_weight_decay else weight_decay, maximize)
        if decoupled_weight_decay:
            w = w * (1 - lr * weight_decay)
        beta1, beta2 = betas
        m = beta1 * state["exp_avg"] + (1 - beta1) * g
        v = beta2 * state["exp_avg_sq"] + (1 - beta2) * g * g
        rest = 1 - beta2**t
        longest = 2 / (1 - beta2) - 1
        rho = longest - 2 * t * beta2**t / rest
        change = m / (1 - beta1**t)
        if rho > 5:
            r = ((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)) ** 0.5
            change = r * rest**0.5 * change / (v.sqrt() + eps)
        return w - lr * change, {"step": step, "exp_avg": m, "exp_avg_sq": v}
