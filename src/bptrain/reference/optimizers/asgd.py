"""ASGD."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.update import Options, State, Update, counted, descent, zeros


class ASGD(Update, optimizers=[torch.optim.ASGD]):
    """w' = (1 - lambd eta) w - eta g, and the mean a' = a + mu (w' - a); for the next step

        eta' = lr / (1 + lambd lr t)^alpha        mu' = 1 / max(1, t - t0).

    The first eta is lr and the first mu 1: until t0 the mean is w' itself. Weight decay is added to g, on top of
    lambd, the weight decay of the method. torch rounds eta and mu to its default dtype, whatever that of w.
    Derivation. a' with mu = 1 / n is the mean of the n last w'. It reaches the best rate that any method can have
    on noisy gradients when eta falls more slowly than 1 / t, alpha < 1.
    Source: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992); eta as in Bottou's sgd2 and Xu, arXiv 1107.2490.
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 2.0, "maximize": True}
        yield {"lr": 0.1, "t0": 0.0, "weight_decay": 0.3}

    @staticmethod
    def start(w: Tensor, *, lr: float, **options: float) -> State:
        return {**dict(zeros(w, "ax")), "eta": w.new_full((), _rounded(lr)), "mu": w.new_full((), 1.0)}

    @staticmethod
    def step(
        w: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: float,
        lambd: float,
        alpha: float,
        t0: float,
        weight_decay: float,
        maximize: bool,
    ) -> tuple[Tensor, State]:
        t, step = counted(state)
        g = descent(w, g, weight_decay, maximize)
        eta, mu = float(state["eta"]), float(state["mu"])
        w = (1 - lambd * eta) * w - eta * g
        return w, {
            "step": step,
            "ax": state["ax"] + mu * (w - state["ax"]),
            "eta": torch.full_like(state["eta"], _rounded(lr / (1 + lambd * lr * t) ** alpha)),
            "mu": torch.full_like(state["mu"], _rounded(1 / max(1.0, t - t0))),
        }


def _rounded(value: float) -> float:
    """The nearest number of torch's default dtype."""
    return torch.tensor(value).item()
