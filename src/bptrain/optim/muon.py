"""Muon for matrices, and AdamW for what is none."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.optim import AdamW, Muon, Optimizer


class MuonAdamW(Optimizer):
    """A step of torch.optim.Muon for parameters of two axes, and of torch.optim.AdamW for all others.

    Options of the same name hold for both; `betas` are AdamW's, what is not named there Muon's.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, ...] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
        betas: tuple[float, ...] = (0.9, 0.999),
    ) -> None:
        options = {"momentum": momentum, "nesterov": nesterov, "ns_coefficients": ns_coefficients}
        options |= {"ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn, "betas": betas}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "eps": eps, **options})
        self.of_matrices, self.of_others = Muon([{"params": []}]), AdamW([{"params": []}], fused=True)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for part in (self.of_matrices, self.of_others):
                parameters = [p for p in group["params"] if (p.dim() == 2) == (part is self.of_matrices)]
                # Both keep what they know in the state of this one, which is new whenever a state was loaded.
                part.param_groups, part.state = [{**part.defaults, **group, "params": parameters}], self.state
                part.step()
