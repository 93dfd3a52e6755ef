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

from bptrain.check.verdict import UNVERIFIED, VERIFIED, WRONG
from bptrain.reference.dtype import as_real

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
        return digits(self.error)


def digits(error: float) -> float:
    """Decimal digits that agree under a relative error, 17 at the most; NaN where nothing could be compared."""
    if math.isnan(error):
        return math.nan
    return 17.0 if error == 0 else max(0.0, min(17.0, -math.log10(error)))


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
    if theirs is not None and roundoff(theirs.dtype) > roundoff(dtype):
        dtype = theirs.dtype.to_real()  # what went back through a cast is rounded as it is stored
    ours, unit = _real(ours), roundoff(dtype)
    given = torch.zeros_like(ours) if theirs is None else _real(theirs)
    if given.shape != ours.shape:
        return GradientError(math.inf, 0.0, WRONG)
    others = [(_real(again), share) for again, share in rounded]
    # Infinite or NaN on both sides is agreement on a value that overflowed; only the rest can be compared.
    finite = ours.isfinite() & given.isfinite()
    same = (ours == given) | (ours.isnan() & given.isnan())
    if not (finite | same).all():
        overflows = any(not again[given.isfinite() != ours.isfinite()].isfinite().all() for again, _ in others)
        return GradientError(math.inf, 0.0, UNVERIFIED if overflows else WRONG)
    if ours.numel() and not finite.any():
        return GradientError(math.nan, 0.0, UNVERIFIED)
    ours, given = ours[finite], given[finite]
    size = _largest(ours)
    differences = [share * _largest(again[finite] - ours) for again, share in others]
    spread = max([unit * size, *filter(math.isfinite, differences)])
    # A gradient below the smallest normal number is rounded to it or to zero.
    allowed = FACTOR.get(dtype, DEFAULT_FACTOR) * spread + 2 * torch.finfo(dtype).tiny + inexact * size
    apart, scale = _largest(given - ours), size if size > 0 else 1.0
    # A gradient that is zero but for rounding (a bias before batch normalization) agrees in no digit, and is right.
    return GradientError(apart / scale, allowed / scale, VERIFIED if apart <= allowed else WRONG)


def _real(tensor: Tensor) -> Tensor:
    return as_real(tensor).double()


def _largest(tensor: Tensor) -> float:
    return tensor.abs().max().item() if tensor.numel() else 0.0
