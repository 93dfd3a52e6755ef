"""RandomRounding: arithmetic in float64 that errs as that of a coarser dtype does.

After each operation that rounds, each element of its result moves by a random relative error of at most the unit
roundoff; a sum of n terms by log2(n) of them more, which is what adding them in pairs may err.
Source: the stochastic arithmetic of Vignes, Mathematics and Computers in Simulation 35 (1993).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ROUNDING = frozenset("add sub rsub mul div reciprocal sqrt rsqrt square pow exp sum mean mm dot addmm".split())
FINEST = 2.0**-51  # what is less than some ULPs of float64 would be lost in it


class RandomRounding(TorchDispatchMode):
    """While active, an operation errs by `unit`, or by the unit roundoff of its result's dtype if it is not float64."""

    def __init__(self, unit: float, generator: torch.Generator) -> None:
        super().__init__()
        self.unit, self.generator = max(unit, FINEST), generator

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in ROUNDING or not result.is_floating_point():
            return result
        if result.dtype is not torch.float64:
            return self.err(result, torch.finfo(result.dtype).eps / 2)
        return self.err(result, self.unit * (1 + math.log2(max(1, _terms(name, args, result)))))

    def err(self, x: Tensor, unit: float | None = None) -> Tensor:
        """`x` with a random error in each element."""
        unit = self.unit if unit is None else unit
        drawn = torch.rand(x.shape, generator=self.generator, dtype=torch.float64).to(x.device)
        return (x.double() * (1 + unit * (2 * drawn - 1))).to(x.dtype)


def _terms(name: str, args: tuple, result: Tensor) -> int:
    """How many terms were added up for each element of the result."""
    if name in ("sum", "mean"):
        return args[0].numel() // max(1, result.numel())
    if name in ("mm", "dot", "addmm"):
        return args[name == "addmm"].shape[-1]
    return 1
