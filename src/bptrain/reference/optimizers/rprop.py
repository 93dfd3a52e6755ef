"""Rprop."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.update import Options, State, Update, counted, zeros


class Rprop(Update, optimizers=[torch.optim.Rprop]):
    """w' = w - sign(g~) s', where the length s of each element's step follows the sign of g times the last g~:

        positive    s' = min(etaplus s, longest)        g~ = g
        negative    s' = max(etaminus s, shortest)      g~ = 0: the element rests, and so does the rule next time
        zero        s' = s                              g~ = g
    and all s' are kept within step_sizes. The first s is lr, the first g~ is 0. Of g only the sign counts.

    Derivation. A gradient that changes its sign has jumped over a minimum: the step was too long. The gradient is
    set to 0 so that the next is not judged by it; the step is not taken back (variant iRprop-).
    Source: Riedmiller and Braun, ICNN (1993); Igel and Huesken, Neurocomputing 50 (2003).
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.1, "etas": (0.3, 1.7), "step_sizes": (0.07, 0.15), "maximize": True}

    @staticmethod
    def start(w: Tensor, *, lr: float, **options: float) -> State:
        return {**dict(zeros(w, "prev")), "step_size": torch.full_like(w, lr)}

    @staticmethod
    def step(
        w: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: float,
        etas: tuple[float, float],
        step_sizes: tuple[float, float],
        maximize: bool,
    ) -> tuple[Tensor, State]:
        _, step = counted(state)
        g = -g if maximize else g
        agreement = g * state["prev"]
        etaminus, etaplus = etas
        factor = torch.ones_like(w).masked_fill(agreement > 0, etaplus).masked_fill(agreement < 0, etaminus)
        s = (state["step_size"] * factor).clamp(*step_sizes)
        g = g.masked_fill(agreement < 0, 0.0)
        return w - g.sign() * s, {"step": step, "prev": g, "step_size": s}
