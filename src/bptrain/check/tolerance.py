"""How far two gradients may lie apart: what rounding explains passes, what it does not is an error.

Rounding is measured, not assumed. A gradient g = J^T dy computed in a dtype of unit roundoff u differs
from the exact one by about as much as
  - the rule's own result in that dtype differs from the rule's result in float64, and
  - the exact result moves when each element of dy is moved by a random relative error of size u.
The second term sees cancellation (a sum of large terms that nearly vanishes) even where the first is
zero by luck; it is the stochastic arithmetic of Vignes, Mathematics and Computers in Simulation 35
(1993). Where a kernel forms the slope itself by cancellation (`Rule.cancels`), each element may be off
by u |dy| however small it is. One rounding of the result, u max|g|, is the floor: most gradients lie
within a few of those, and for them nothing has to be measured.

A float64 gradient has no better one to measure against. Rounding errors are proportional to u, so the
rule's error in float32 is measured instead and scaled down by the ratio of the two roundoffs.

What all elements have in common is judged apart, by the slope b of  theirs - ours = b ours + noise  fitted by
least squares, b = <theirs - ours, ours> / <ours, ours>. Rounding errors e_i = r_i u |g_i| of random signs give
b a size of s u sqrt(sum g_i^4) / sum g_i^2, that is s u / sqrt(n) for n elements of one size, so that a gradient which
is 0.1 % too long is seen in bfloat16, where each element is rounded by up to 0.4 %. Here s is the deviation of r_i: an
error of up to half a unit in the last place, evenly spread, is u / (m sqrt 3) of a number of mantissa m in [1, 2),
0.4 u in the mean. Elements that are alike but for sign and a power of 2 are rounded alike: they count as one, of their
summed weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bptrain.check.fault import fault
from bptrain.check.verdict import UNVERIFIED, VERIFIED, WRONG, failed
from bptrain.reference.dtype import as_real, inner

# How many times the measured rounding is still rounding. In float64 both sides round, libm's exp and tanh
# are off by a few u, and what is scaled down from float32 is an estimate.
FACTOR = {torch.float64: 1e4, torch.float32: 64.0}
HALF_FACTOR = 16.0
# In half precision most kernels compute in float32 and round what they store: so many units of roundoff need no
# measuring, nor so many standard deviations of a slope.
HALF_UNITS, HALF_DEVIATIONS = 4.0, 8.0
FEW = 100  # elements
DEVIATION = 0.4  # of the rounding of a number, in units of roundoff
PORTION = 1 << 15  # elements

# The reference's gradient again, under rounding, each with the share of its difference that is explained; the last one
# computed in the dtype itself, or in a coarser one.
Reruns = Callable[[], Iterable[tuple[Tensor, float]]]


@dataclass(frozen=True)
class GradientError:
    """How far autograd's gradient is from the reference's.

    `error` is max|theirs - ours| / max|ours| (absolute where ours is zero), `explained` the relative error that
    rounding explains; `bias` is the relative error that all elements have in common, with what rounding explains of
    it. `digits` are the decimal digits that agree, `expected` those that the dtype has. `underflow` counts the
    elements that are zero where the reference has a number too small for the dtype, `overflow` those that are
    infinite where it is finite. `excess` are the digits that a half-precision call loses beyond those that rounding
    its inputs and its result loses: sums in half precision do. `fault` says what kind of error it is, where that can
    be told.
    """

    error: float
    explained: float
    verdict: str
    bias: float = 0.0
    bias_explained: float = math.inf
    expected: float = math.nan
    underflow: int = 0
    overflow: int = 0
    excess: float = 0.0
    fault: str = ""

    @property
    def digits(self) -> float:
        return digits(self.error)

    @property
    def vanishes(self) -> bool:
        """Whether the gradient is zero but for rounding, as a bias' before batch normalization: right, in no digit."""
        return self.explained >= 1 and not failed(self.verdict)

    @property
    def lost(self) -> float:
        """Digits that the dtype has and the gradient has not."""
        return 0.0 if self.vanishes or math.isnan(self.error) else max(0.0, self.expected - self.digits)


def least_exact(errors: Iterable[GradientError]) -> GradientError | None:
    """The gradient with the largest error, a wrong one if there is any; None of those that vanish."""
    told = [e for e in errors if not (math.isnan(e.error) or e.vanishes)]
    return max(told, key=lambda e: (failed(e.verdict), e.error), default=None)


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
    theirs: Tensor | None, ours: Tensor, reruns: Reruns | None, dtype: torch.dtype, inexact: float = 0.0
) -> GradientError:
    """Autograd's gradient, None for no gradient at all, against the reference's, both of the same shape.

    `reruns` is called only where one rounding of the result does not explain the difference; without it the
    verdict is a first one, and nothing is said about the kind of fault.
    `inexact` is a relative error that torch's kernel is known to make.
    """
    if theirs is not None and roundoff(theirs.dtype) > roundoff(dtype):
        dtype = theirs.dtype.to_real()  # what went back through a cast is rounded as it is stored
    right, ours, expected = ours, _real(ours), digits(roundoff(dtype))
    given = torch.zeros_like(ours) if theirs is None else as_real(theirs)
    if given.shape != ours.shape:
        return GradientError(math.inf, 0.0, WRONG, expected=expected, fault=fault(theirs, right, 0.0))
    worst, size, product, weight = _measured(given, ours)
    if not math.isfinite(worst) or not math.isfinite(size):
        return replace(_where_finite(given, ours, reruns, dtype, inexact), expected=expected)
    unit, half = roundoff(dtype), torch.finfo(dtype).bits < 32
    # A gradient below the smallest normal number is rounded to it or to zero.
    slack = 2 * torch.finfo(dtype).tiny + inexact * size
    factor = HALF_FACTOR if half else FACTOR[dtype]
    bias = product / weight if weight > 0 else 0.0
    allowed = (HALF_UNITS if half else factor) * unit * size + slack
    deviations = HALF_DEVIATIONS if half else factor
    common = deviations * (_chance(ours, weight, dtype) if half else unit) + inexact
    if reruns is not None and (worst > allowed or abs(bias) > common):
        few = 1 / math.sqrt(weight) if ours.numel() < FEW and weight > 0 else 0.0  # to tell a slope from rounding
        slope, once = 0.0, common
        for again, share in reruns():
            difference = as_real(again) - ours
            allowed = max(allowed, factor * _finite(share * _largest(difference)) + slack)
            likely = _finite(share * _likely_slope(difference, ours, weight))
            # The last rerun is the rule in half precision itself; random errors of that size would hide a slope.
            slope = likely if half else max(slope, likely)
            common = max(once, deviations * slope + inexact, few * allowed)
            if not half and worst <= allowed and abs(bias) <= common:
                break
    wrong = worst > allowed or abs(bias) > common
    scale = size if size > 0 else 1.0
    return GradientError(
        worst / scale,
        allowed / scale,
        WRONG if wrong else VERIFIED,
        bias,
        common,
        expected,
        _underflow(given, ours, dtype) if half else 0,
        fault=fault(theirs, right, allowed) if wrong and reruns is not None else "",
    )


def _where_finite(
    given: Tensor, ours: Tensor, reruns: Reruns | None, dtype: torch.dtype, inexact: float
) -> GradientError:
    """The same where some elements are not finite: of these it counts where they are, and the others are compared.

    Infinite or NaN on both sides is agreement on a value that overflowed.
    """
    finite = ours.isfinite() & given.isfinite()
    same = (ours == given) | (ours.isnan() & ~given.isfinite()) | (given.isnan() & ~ours.isfinite())
    overflow = int((given.isinf() & ours.isfinite()).sum())
    others = [(as_real(again), share) for again, share in reruns()] if reruns is not None else []
    if not (finite | same).all():
        overflows = any(not again[given.isfinite() != ours.isfinite()].isfinite().all() for again, _ in others)
        if not overflows:
            return GradientError(math.inf, 0.0, WRONG, overflow=overflow, fault=fault(given, ours, 0.0))
        return GradientError(math.inf, 0.0, UNVERIFIED, overflow=overflow)
    if not finite.any():
        return GradientError(math.nan, 0.0, UNVERIFIED, overflow=overflow)
    rest = [(again[finite], share) for again, share in others]
    return replace(compare(given[finite], ours[finite], lambda: rest, dtype, inexact), overflow=overflow)


def _measured(given: Tensor, ours: Tensor) -> tuple[float, float, float, float]:
    """max|given - ours|, max|ours|, <given - ours, ours> and <ours, ours>; NaN where there is one."""
    if not ours.numel():
        return 0.0, 0.0, 0.0, 0.0
    found = []
    # In portions that stay in a processor's cache: memory is what takes time here.
    for a, b in zip(_portions(given), _portions(ours), strict=True):
        apart = a - b
        found.append(torch.stack([*apart.aminmax(), *b.aminmax(), torch.dot(apart, b), torch.dot(b, b)]))
    low, high, least, most, products, squares = torch.stack(found).T.tolist()  # each of all portions
    if not all(map(math.isfinite, (*low, *high, *least, *most))):
        return math.nan, math.nan, math.nan, math.nan
    # Adding 0 makes 0 of -0, which reads ill.
    return max(-min(low), *high) + 0.0, max(-min(least), *most) + 0.0, sum(products), sum(squares)


def _portions(tensor: Tensor) -> tuple[Tensor, ...]:
    flat = tensor.reshape(-1)
    return (flat,) if len(flat) <= PORTION else flat.split(PORTION)


def _likely_slope(difference: Tensor, ours: Tensor, weight: float) -> float:
    """The slope of a difference, or that which independent errors of its size give by chance if it is larger."""
    if not weight:
        return 0.0
    by_chance = difference.square().mean().sqrt().item() / math.sqrt(weight)
    return max(abs(inner(difference, ours)) / weight, by_chance)


def _chance(ours: Tensor, weight: float, dtype: torch.dtype) -> float:
    """The slope that rounding each element to `dtype` gives by chance; elements of one mantissa are rounded alike."""
    if not weight:
        return 0.0
    # In float32, since equal numbers that were summed in two orders are not quite equal.
    mantissa, groups = torch.frexp(ours.float().reshape(-1)).mantissa.abs().double().unique(return_inverse=True)
    squares = torch.zeros_like(mantissa).index_add_(0, groups, ours.reshape(-1).square())
    return DEVIATION * roundoff(dtype) * squares.norm().item() / weight


def _underflow(given: Tensor, ours: Tensor, dtype: torch.dtype) -> int:
    return int(((given == 0) & (ours != 0) & (ours.abs() < torch.finfo(dtype).tiny)).sum())


def _real(tensor: Tensor) -> Tensor:
    return as_real(tensor).double()


def _finite(number: float) -> float:
    return number if math.isfinite(number) else 0.0


def _largest(tensor: Tensor) -> float:
    return tensor.abs().max().item() if tensor.numel() else 0.0
