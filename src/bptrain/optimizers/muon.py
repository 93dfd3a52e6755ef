"""Muon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bptrain.config.component import setting
from bptrain.errors import Problem, RequestError
from bptrain.optimizers.adam import pair
from bptrain.optimizers.optimizer import Optimizer

if TYPE_CHECKING:
    import torch
    from torch.nn import Parameter


@dataclass(frozen=True)
class Muon(Optimizer, name="muon"):
    """Momentum whose matrices are made orthogonal before each step (Jordan 2024); AdamW for all that is no matrix.

    torch's Muon takes parameters of two axes alone, and every network has others: biases, kernels of convolutions,
    scales. Those are left to AdamW, as torch's page advises, with settings of their own. Here the weights of a head and
    of an embedding are matrices like any other. https://pytorch.org/docs/stable/generated/torch.optim.Muon.html
    """

    lr: float = setting(1e-3, "learning rate of matrices", minimum=0)
    weight_decay: float = setting(0.1, "share of each matrix taken off in a step, times lr", minimum=0)
    momentum: float = setting(0.95, "share kept of the running mean of gradients", minimum=0, below=1)
    nesterov: bool = setting(True, "whether the mean is taken one step ahead")
    ns_coefficients: tuple[float, ...] = setting(
        (3.4445, -4.775, 2.0315), "a, b, c of the polynomial a s + b s^3 + c s^5 that brings singular values near 1"
    )
    eps: float = setting(1e-7, "least norm that a matrix is divided by", above=0)
    ns_steps: int = setting(5, "times the polynomial is applied", minimum=1, maximum=99)
    adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = setting(
        None, "how the rate follows the shape; match_rms_adamw gives steps as large as AdamW's, null is original"
    )
    adamw_lr: float = setting(1e-3, "learning rate of all that is no matrix", minimum=0)
    adamw_betas: tuple[float, ...] = setting((0.9, 0.999), "AdamW's betas", minimum=0, below=1)
    adamw_eps: float = setting(1e-8, "AdamW's eps", minimum=0)
    adamw_weight_decay: float = setting(
        1e-2, "share of all that is no matrix taken off in a step, times its rate", minimum=0
    )

    def __post_init__(self) -> None:
        pair("adamw_betas", self.adamw_betas, "[0.9, 0.999]")
        if len(self.ns_coefficients) != 3:
            what = f"must be three numbers, not {len(self.ns_coefficients)}."
            raise RequestError(Problem("optimizer.ns_coefficients", what, "[3.4445, -4.775, 2.0315] is usual."))

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        from bptrain.optim.muon import MuonAdamW

        given = list(parameters)
        matrices, others = [p for p in given if p.dim() == 2], [p for p in given if p.dim() != 2]
        if not matrices:
            what = "muon is for matrices, and the model has none."
            raise RequestError(Problem("optimizer", what, "optimizer=adamw fits."))
        groups = [
            {"params": matrices},
            {
                "params": others,
                "lr": self.adamw_lr,
                "weight_decay": self.adamw_weight_decay,
                "eps": self.adamw_eps,
                "betas": self.adamw_betas,
            },
        ]
        own = {name: value for name, value in vars(self).items() if not name.startswith("adamw_")}
        return MuonAdamW(groups if others else groups[:1], **own)
