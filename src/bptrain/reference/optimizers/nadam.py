"""NAdam."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.update import Options, State, Update, counted, descent, zeros


class NAdam(Update, optimizers=[torch.optim.NAdam]):
    """w' = w - lr (mu_t+1 m' / (1 - P mu_t+1) + (1 - mu_t) g / (1 - P)) / (sqrt(v^) + eps), with

        mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)        P = mu_1 mu_2 ... mu_t
    and m', v', v^ those of Adam; the decay of m is beta1 itself.

    Derivation. Nesterov's momentum in Adam: the step takes the part of m that is to come, mu_t+1 m', in place of the
    part that was, mu_t m, each divided by the sum of its weights, 1 - P mu_t+1 and 1 - P.
    Source: Dozat, Incorporating Nesterov momentum into Adam (ICLR workshop 2016); mu_t after Sutskever et al. (2013);
    decoupled weight decay as in AdamW.
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-2, "momentum_decay": 0.5, "maximize": True}
        yield {"lr": 0.1, "weight_decay": 0.3}
        yield {"lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": True}

    @staticmethod
    def start(w: Tensor, **options: float) -> State:
        return {**dict(zeros(w, "exp_avg", "exp_avg_sq")), "mu_product": w.new_full((), 1.0)}

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
        momentum_decay: float,
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
        mu, ahead = (beta1 * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in (t, t + 1))
        product = state["mu_product"] * mu
        p = float(product)
        root = (v / (1 - beta2**t)).sqrt() + eps
        w = w - lr * (1 - mu) / (1 - p) * (g / root) - lr * ahead / (1 - p * ahead) * (m / root)
        return w, {"step": step, "exp_avg": m, "exp_avg_sq": v, "mu_product": product}
