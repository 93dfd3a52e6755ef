"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.update import Options, State, Update, counted, descent, zeros


class RMSprop(Update, optimizers=[torch.optim.RMSprop]):
    """w' = w - lr d, with d = g / (sqrt(v' [- a'^2]) + eps), or the running sum b' = momentum b + d of it, and

        v' = alpha v + (1 - alpha) g^2        a' = alpha a + (1 - alpha) g, used where `centered`.

    Derivation. g over its root mean square: the sign of g with a scale that forgets. Centered, the scale is the
    standard deviation, sqrt(mean g^2 - (mean g)^2). eps is outside the root; TensorFlow has it inside.
    Source: Hinton, Neural networks for machine learning, lecture 6e (2012); Graves, arXiv 1308.0850 (2013),
    equations 38 to 41.
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.1, "alpha": 0.8, "eps": 1e-2, "maximize": True}
        yield {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}
        yield {"lr": 0.1, "centered": True}
        yield {"lr": 0.1, "centered": True, "momentum": 0.5, "alpha": 0.9}

    @staticmethod
    def start(w: Tensor, *, momentum: float, centered: bool, **options: float) -> State:
        names = ["momentum_buffer"] * (momentum > 0) + ["grad_avg"] * centered
        return dict(zeros(w, "square_avg", *names))

    @staticmethod
    def step(
        w: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: float,
        alpha: float,
        eps: float,
        weight_decay: float,
        momentum: float,
        centered: bool,
        maximize: bool,
    ) -> tuple[Tensor, State]:
        _, step = counted(state)
        g = descent(w, g, weight_decay, maximize)
        v = alpha * state["square_avg"] + (1 - alpha) * g * g
        new = {"step": step, "square_avg": v}
        if centered:
            new["grad_avg"] = a = alpha * state["grad_avg"] + (1 - alpha) * g
            v = v - a * a
        d = g / (v.sqrt() + eps)
        if momentum > 0:
            new["momentum_buffer"] = d = momentum * state["momentum_buffer"] + d
        return w - lr * d, new
