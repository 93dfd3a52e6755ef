"""The arbiter: differences of a function decide between two claims about its gradient.

For y = f(x) and a cotangent dy, the gradient g = J^T dy satisfies  <g, d> = d/dh <dy, f(x + h d)>  for
every direction d. Five points give the derivative with an error of order h^4 (Abramowitz and Stegun,
25.3.6). Two claims are told apart best along d = their difference.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bptrain.reference.dtype import inner

STENCIL = ((1, -2), (-8, -1), (8, 1), (-1, 2))
STEP = 1e-5  # relative to the size of x along d, in float64: small, so that few kinks lie within


def slope(f: Callable[[Tensor], float], x: Tensor, direction: Tensor) -> tuple[float, float]:
    """d/dh f(x + h d) at h = 0 in float64, and the doubt about it.

    Doubt is how far two step sizes disagree, or the slopes on the two sides: at a kink, such as a tie for a
    maximum, each step size gives the same mean of the sides, which is no derivative.
    """
    estimates, sides = [], []
    size = max(x.abs().max().item(), 1.0) / max(direction.abs().max().item(), 1e-300)
    for h in (STEP * size, STEP * size / 8):
        values = {k: f(x + k * h * direction) for k in (-2, -1, 0, 1, 2)}
        estimates.append(sum(weight * values[k] for weight, k in STENCIL) / (12 * h))
        sides.append(abs(values[1] - 2 * values[0] + values[-1]) / h)
    return estimates[1], max(abs(estimates[1] - estimates[0]), sides[1])


def decide(f: Callable[[Tensor], float], x: Tensor, ours: Tensor, theirs: Tensor) -> str:
    """Who is right about the gradient of f at x: 'reference', 'autograd', or 'neither' where f is not smooth enough."""
    apart = theirs - ours
    direction = apart / apart.norm()
    found, doubt = slope(f, x, direction)
    claims = {"reference": inner(ours, direction), "autograd": inner(theirs, direction)}
    gap = abs(claims["autograd"] - claims["reference"])
    if not doubt < 0.25 * gap:
        return "neither"
    near = min(claims, key=lambda name: abs(claims[name] - found))
    return near if abs(claims[near] - found) < 0.25 * gap else "neither"


def agrees(f: Callable[[Tensor], float], x: Tensor, theirs: Tensor, generator: torch.Generator) -> float | None:
    """The relative error of a gradient along three random directions; None where differences are no judge."""
    errors = []
    for _ in range(3):
        direction = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        found, doubt = slope(f, x, direction)
        scale = max(theirs.norm().item() * direction.norm().item(), abs(found), 1e-300)
        if not doubt <= 1e-4 * scale:  # NaN is no judge either
            return None
        errors.append(abs(found - inner(theirs, direction)) / scale)
    return max(errors)
