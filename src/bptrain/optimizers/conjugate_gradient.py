"""Conjugate gradients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bptrain.optimizers.line_descent import LineDescent

if TYPE_CHECKING:
    import torch
    from torch.nn import Parameter


@dataclass(frozen=True)
class CG(LineDescent, name="cg"):
    """The gradient and a share of the last direction, so that no step undoes what those before have reached.

    Polak and Ribiere 1969, with the share at least 0: Gilbert and Nocedal 1992.
    """

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        from bptrain.optim.cg import CG

        return CG(parameters, self.gtol, self.c1, self.c2)
