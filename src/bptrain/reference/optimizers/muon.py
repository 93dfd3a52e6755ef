"""Muon, and Muon beside AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from bptrain.optim.muon import MuonAdamW
from bptrain.reference.optimizers.adam import Adam
from bptrain.reference.update import Options, State, Update


class Muon(Update, optimizers=[torch.optim.Muon], mixes=True):
    """W' = (1 - lr weight_decay) W - lr c orthogonal(U) for a matrix W (R, C), with

        B' = momentum B + (1 - momentum) G        U = B', or momentum B' + (1 - momentum) G with nesterov
        c  = sqrt(max(1, R / C)) ("original"), or 0.2 sqrt(max(R, C)) ("match_rms_adamw").

    orthogonal(U), near P Q^T where U = P S Q^T, takes ns_steps of X <- a X + (b A + c A^2) X with A = X X^T, from
    X = U / max(|U|, eps), transposed where R > C; all in bfloat16, which is part of the method.
    Derivation. A polynomial in X X^T times X has the singular vectors of X and the singular values
    p(s) = a s + b s^3 + c s^5. The coefficients bring every s in (0, 1] near 1 in few steps; they do not converge.
    P Q^T is the steepest direction when the size of a step is its largest singular value.
    torch's page has B' = momentum B + G; its code has the mean above. The scale of U does not count.
    Source: Jordan, https://kellerjordan.github.io/posts/muon/ (2024); c after Liu et al., arXiv 2502.16982 (2025).
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1}
        yield {"lr": 0.1, "momentum": 0.8, "nesterov": False, "weight_decay": 0.0, "adjust_lr_fn": "original"}
        yield {"lr": 0.1, "weight_decay": 0.5, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}
        yield {"lr": 0.1, "ns_coefficients": (2.0, -1.5, 0.5), "eps": 3.0}

    @staticmethod
    def start(w: Tensor, **options: float) -> State:
        return {"momentum_buffer": torch.zeros_like(w)}

    @staticmethod
    def step(
        w: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        nesterov: bool,
        ns_coefficients: tuple[float, float, float],
        eps: float,
        ns_steps: int,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None,
    ) -> tuple[Tensor, State]:
        b = momentum * state["momentum_buffer"] + (1 - momentum) * g
        u = momentum * b + (1 - momentum) * g if nesterov else b
        rows, columns = w.shape
        scale = 0.2 * max(rows, columns) ** 0.5 if adjust_lr_fn == "match_rms_adamw" else max(1, rows / columns) ** 0.5
        change = orthogonal(u, ns_coefficients, ns_steps, eps).to(w.dtype)
        return w * (1 - lr * weight_decay) - lr * scale * change, {"momentum_buffer": b}


def orthogonal(u: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Newton-Schulz iteration of fifth order in bfloat16, of a matrix (R, C)."""
    a, b, c = coefficients
    x = u.to(torch.bfloat16)
    if tall := u.shape[0] > u.shape[1]:
        x = x.t()  # (C, R)
    norm = x.float().square().sum().sqrt().to(torch.bfloat16)
    x = x / norm.clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.t()  # (min, min)
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.t() if tall else x  # (R, C)


class MuonForMatrices(Update, optimizers=[MuonAdamW], mixes=True):
    """The step of Muon for a parameter of two axes, and that of AdamW, without amsgrad, for any other."""

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.1, "weight_decay": 0.3, "betas": (0.7, 0.9)}
        yield {"lr": 0.02, "momentum": 0.8, "nesterov": False, "eps": 1e-2, "adjust_lr_fn": "match_rms_adamw"}
        yield {"lr": 0.1, "ns_coefficients": (2.0, -1.5, 0.5), "ns_steps": 3}

    @staticmethod
    def start(w: Tensor, **options: float) -> State:
        return Muon.start(w) if w.dim() == 2 else Adam.start(w, amsgrad=False)

    @staticmethod
    def step(
        w: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: float,
        weight_decay: float,
        eps: float,
        betas: tuple[float, float],
        momentum: float,
        nesterov: bool,
        ns_coefficients: tuple[float, float, float],
        ns_steps: int,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None,
    ) -> tuple[Tensor, State]:
        shared: Options = {"lr": lr, "weight_decay": weight_decay, "eps": eps}
        if w.dim() == 2:
            muon: Options = {"momentum": momentum, "nesterov": nesterov, "ns_coefficients": ns_coefficients}
            return Muon.step(w, g, state, **shared, **muon, ns_steps=ns_steps, adjust_lr_fn=adjust_lr_fn)
        adamw: Options = {"betas": betas, "amsgrad": False, "maximize": False, "decoupled_weight_decay": True}
        return Adam.step(w, g, state, **shared, **adamw)
