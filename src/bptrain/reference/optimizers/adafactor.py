"""Adafactor."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.update import Options, State, Update, counted, zeros


class Adafactor(Update, optimizers=[torch.optim.Adafactor]):
    """w' = (1 - lr weight_decay) w - max(eps2, rms(w)) min(lr, 1 / sqrt(t)) u / max(1, rms(u) / d), with

        u = g / max(sqrt(V), eps1),        x' = (1 - t^beta2_decay) x + t^beta2_decay (mean of g^2)
    where rms is the root of the mean square over all elements, of w before it decays.

    For a gradient (..., R, C) two means are kept, r (..., R, 1) of each row and c (..., 1, C) of each column, and
    V_ij = r_i c_j / max(mean r, eps1); for a vector or a number V = v itself. eps1 = None is the machine epsilon.
    Derivation. r c / mean r is the matrix of rank 1 that is nearest to a positive matrix by the generalised
    Kullback-Leibler divergence: it has the same sums of rows and columns. As 1 - t^beta2_decay is 0 at the first
    step, the means need no correction. u over max(1, rms(u) / d) has an rms of d at the most.
    torch deviates from the paper: eps1 bounds a root from below and is not added to g^2, lr takes the place of the
    constant 0.01, and lr itself scales the decay.
    Source: Shazeer and Stern, arXiv 1804.04235 (2018), algorithms 4 and 5.
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.9, "beta2_decay": -0.5, "d": 1.1, "maximize": True}
        yield {"lr": 0.1, "eps": (0.3, 2.0), "weight_decay": 0.3}

    @staticmethod
    def concrete(options: Options, dtype: torch.dtype) -> Options:
        smallest, scale = options["eps"]
        return {**options, "eps": (torch.finfo(dtype).eps if smallest is None else smallest, scale)}

    @staticmethod
    def start(w: Tensor, **options: float) -> State:
        if w.dim() < 2:
            return dict(zeros(w, "variance"))
        rows, columns = torch.zeros_like(w[..., :1]), torch.zeros_like(w[..., :1, :])  # (..., R, 1), (..., 1, C)
        return {**dict(zeros(w)), "row_var": rows, "col_var": columns}

    @staticmethod
    def step(
        w: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: float,
        beta2_decay: float,
        eps: tuple[float, float],
        d: float,
        weight_decay: float,
        maximize: bool,
    ) -> tuple[Tensor, State]:
        t, step = counted(state)
        g = -g if maximize else g
        share, smallest = t**beta2_decay, eps[0]
        rate = max(eps[1], _rms(w)) * min(lr, t**-0.5)
        w = w * (1 - lr * weight_decay)
        new: State = {"step": step}
        if w.dim() < 2:
            new["variance"] = v = (1 - share) * state["variance"] + share * g * g
        else:
            new["row_var"] = r = (1 - share) * state["row_var"] + share * (g * g).mean(-1, keepdim=True)  # (..., R, 1)
            new["col_var"] = c = (1 - share) * state["col_var"] + share * (g * g).mean(-2, keepdim=True)  # (..., 1, C)
            v = r * c / r.mean(-2, keepdim=True).clamp(min=smallest)  # (..., R, C)
        u = g / v.sqrt().clamp(min=smallest)
        return w - rate / max(1.0, _rms(u) / d) * u, new


def _rms(x: Tensor) -> float:
    """The root of the mean square of all elements."""
    return float((x * x).mean()) ** 0.5
