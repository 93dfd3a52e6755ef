"""Adam and AdamW, and Adam for sparse gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.update import Options, Sparse, State, Update, counted, descent, zeros


class Adam(Update, optimizers=[torch.optim.Adam, torch.optim.AdamW]):
    """w' = w - lr m^ / (sqrt(v^) + eps) at step t = 1, 2, ..., with

        m' = beta1 m + (1 - beta1) g        m^ = m' / (1 - beta1^t)
        v' = beta2 v + (1 - beta2) g^2      v^ = v' / (1 - beta2^t), or of the greatest v' so far with amsgrad.

    Weight decay is added to g, or with decoupled_weight_decay (AdamW) w is first shrunk by 1 - lr weight_decay.
    Derivation. From m = 0, m' after t steps is (1 - beta1) sum_i beta1^(t - i) g_i, whose weights add up to
    1 - beta1^t: divided by it, m^ has the mean of g where that stays the same; v^ likewise.
    Source: Kingma and Ba, arXiv 1412.6980 (2014), algorithm 1, eps outside the root; Reddi et al., arXiv 1904.09237
    (2018); Loshchilov and Hutter, arXiv 1711.05101 (2017), algorithm 2.
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-2}
        yield {"lr": 0.1, "weight_decay": 0.3}
        yield {"lr": 0.1, "amsgrad": True, "betas": (0.5, 0.6), "maximize": True}
        yield {"lr": 0.1, "amsgrad": True, "weight_decay": 0.1, "decoupled_weight_decay": True}

    @staticmethod
    def start(w: Tensor, *, amsgrad: bool, **options: float) -> State:
        return dict(zeros(w, "exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if amsgrad else [])))

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
        amsgrad: bool,
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
        new = {"step": step, "exp_avg": m, "exp_avg_sq": v}
        if amsgrad:
            new["max_exp_avg_sq"] = v = torch.maximum(state["max_exp_avg_sq"], v)
        root = v.sqrt() / (1 - beta2**t) ** 0.5
        return w - lr / (1 - beta1**t) * (m / (root + eps)), new


class SparseAdam(Update, optimizers=[torch.optim.SparseAdam], sparse=True):
    """Adam where the gradient has elements; elsewhere w, m and v stay as they are, and do not decay.

    eps is not corrected: w' = w - lr sqrt(1 - beta2^t) / (1 - beta1^t) m' / (sqrt(v') + eps), which is the form at
    the end of section 2 of Kingma and Ba. A gradient without any element counts as a step.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.SparseAdam.html
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-2, "maximize": True}

    @staticmethod
    def start(w: Tensor, **options: float) -> State:
        return dict(zeros(w, "exp_avg", "exp_avg_sq"))

    @staticmethod
    def step(
        w: Tensor,
        g: Sparse,
        state: State,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        maximize: bool,
    ) -> tuple[Tensor, State]:
        t, step = counted(state)
        (beta1, beta2), at = betas, tuple(g.indices)
        values = -g.values if maximize else g.values  # (N, *rest)
        m = beta1 * state["exp_avg"][at] + (1 - beta1) * values
        v = beta2 * state["exp_avg_sq"][at] + (1 - beta2) * values * values
        rate = lr * (1 - beta2**t) ** 0.5 / (1 - beta1**t)
        return w.index_put(at, w[at] - rate * (m / (v.sqrt() + eps))), {
            "step": step,
            "exp_avg": state["exp_avg"].index_put(at, m),
            "exp_avg_sq": state["exp_avg_sq"].index_put(at, v),
        }
