"""How far two gradients may lie apart: what rounding explains passes, what it does not is an error.

Rounding is measured, not assumed. A gradient g = J^T dy computed in a dtype of unit roundoff u differs
from the exact one by about as much as
  - the rule's own result in that dtype differs from the rule's result in float64, and
  - the exact result moves when each element of dy is moved by a random relative error of size u.
The second term sees cancellation (a sum of large terms that nearly vanishes) even where the first is
zero by luck; it is the stochastic arithmetic of Vignes, Mathematics and Computers in Simulation 35
(1993). Where a kernel forms the slope itself by cancellation (`Rule.cancels`), each element may be off
by u |dy| however small it is. One rounding of the result, u max|g|, is the floor.

A float64 gradient has no better one to measure against. Rounding errors are proportional to u, so the
rule's error in float32 is measured instead and scaled down by the ratio of the two roundoffs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bptrain.check.verdict import VERIFIED, WRONG

# How many times the measured rounding is still rounding. In float64 both sides round, libm's exp and tanh
# are off by a few u, and what is scaled down from float32 is an estimate.
FACTOR = {torch.float64: 1e4}
DEFAULT_FACTOR = 64.0


@dataclass(frozen=True)
class GradientError:
    """How far autograd's gradient is from the reference's.

    `error` is max|theirs - ours| / max|ours| (absolute where ours is zero), `digits` the decimal digits
    that agree, `explained` the relative error that rounding explains.
    """

    error: float
    explained: float
    verdict: str

    @property
    def digits(self) -> float:
        return 17.0 if self.error == 0 else max(0.0, min(17.0, -math.log10(self.error)))


def roundoff(dtype: torch.dtype) -> float:
    """Unit roundoff u: half the distance from 1 to the next number."""
    return torch.finfo(dtype).eps / 2


def coarser(dtype: torch.dtype) -> torch.dtype:
    """The dtype to measure the rounding of `dtype` in: itself, but float32 for float64."""
    return torch.float32 if dtype is torch.float64 else dtype


def compare(
    theirs: Tensor | None,
    ours: Tensor,
    rounded: list[tuple[Tensor, float]],
    dtype: torch.dtype,
    inexact: float = 0.0,
) -> GradientError:
    """Autograd's gradient, None for no gradient at all, against the reference's, both of the same shape.

    `rounded` holds the reference's gradient again, under rounding, each with the share of its difference
    that is explained.
    `inexact` is a relative error that torch's kernel is known to make.
    """
    ours = ours.double()
    size = _largest(ours)
    unit = roundoff(dtype)
    differences = [share * _largest(again.double() - ours) for again, share in rounded]
    spread = max([unit * size, *filter(math.isfinite, differences)])
    allowed = FACTOR.get(dtype, DEFAULT_FACTOR) * spread
    # A gradient below the smallest normal number is rounded to it or to zero.
    allowed += 2 * torch.finfo(dtype).tiny + inexact * size
    apart = size if theirs is None else _largest(theirs.double() - ours) if theirs.shape == ours.shape else math.inf
    if math.isnan(apart):  # the same NaN on both sides is agreement on a diverged value
        same = theirs is not None and torch.equal(theirs.isnan(), ours.isnan())
        apart = _largest((theirs.double() - ours).nan_to_num(nan=0.0)) if same and theirs is not None else math.inf
        allowed = allowed if math.isfinite(allowed) else 0.0
    scale = size if size > 0 and math.isfinite(size) else 1.0
    return GradientError(apart / scale, allowed / scale, VERIFIED if apart <= allowed else WRONG)


def _largest(tensor: Tensor) -> float:
    return tensor.abs().max().item() if tensor.numel() else 0.0
