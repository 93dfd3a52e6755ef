"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.update import Options, State, Update, descent


class SGD(Update, optimizers=[torch.optim.SGD]):
    """w' = w - lr d, where d is g without momentum, and with it

        b' = momentum b + (1 - dampening) g, the first b' being g,
        d  = b', or g + momentum b' with nesterov.

    There is no state before the first step, since the first b' is not dampened.
    Derivation. Heavy ball (Polyak, USSR Comp. Math. 4, 1964): the step is a decaying sum of all gradients. Nesterov
    takes the gradient where the momentum would lead; Sutskever et al. (ICML 2013) write it about that point w, where
    the step along b' is followed by the lead of the next: (g + momentum b').
    Source: https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.1, "momentum": 0.9}
        yield {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}
        yield {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "maximize": True}
        yield {"lr": 0.1, "weight_decay": 0.2, "maximize": True}

    @staticmethod
    def start(w: Tensor, **options: float) -> State:
        return {}

    @staticmethod
    def step(
        w: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
        maximize: bool,
    ) -> tuple[Tensor, State]:
        g = descent(w, g, weight_decay, maximize)
        if momentum == 0:
            return w - lr * g, state
        b = state.get("momentum_buffer")
        b = g if b is None else momentum * b + (1 - dampening) * g
        return w - lr * (g + momentum * b if nesterov else b), {"momentum_buffer": b}
