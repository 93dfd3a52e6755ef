"""Line search: how far to go along a direction, by the strong Wolfe conditions.

With phi(t) = f(x + t d), a length t is taken when
    phi(t) <= phi(0) + 1e-4 t phi'(0)        it has descended enough, and
    |phi'(t)| <= 0.9 |phi'(0)|               it has come nearer to a stationary point.
A first phase goes on, at most tenfold each time, until two lengths enclose such a point; a second narrows them. The
next length to try is the minimum of the cubic through both values and slopes.
Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 3.5 and 3.6, equation 3.59; the safeguards are
those of Schmidt's minFunc (2005), which torch.optim.LBFGS follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

DESCENT, CURVATURE = 1e-4, 0.9
NARROWEST = 1e-9  # of the bracket, times the largest element of d


class Point(NamedTuple):
    """A length t with what was found there: phi(t), the gradient of f, phi'(t)."""

    t: Any  # a float, or a tensor of no axes where arithmetic on slopes has made it
    loss: float
    gradient: Tensor
    slope: Tensor


def strong_wolfe(along: Callable[[Any], Point], start: Point, t: Any, size: Tensor, tries: int) -> tuple[Point, int]:
    """The point taken, and how many were evaluated; the best so far after `tries` iterations.

    `start` is the point at 0, t the first length, `size` the largest element of the direction.
    """
    point, last, done = along(t), start, False
    evaluations, iterations = 1, 0
    while iterations < tries:
        if _too_high(point, start) or (iterations > 1 and point.loss >= last.loss):
            bracket = [last, point]
            break
        if point.slope.abs() <= -CURVATURE * start.slope:
            bracket, done = [point], True
            break
        if point.slope >= 0:
            bracket = [last, point]
            break
        ahead = _cubic_minimum(last, point, point.t + 0.01 * (point.t - last.t), point.t * 10)
        last, point = point, along(ahead)
        evaluations, iterations = evaluations + 1, iterations + 1
    else:
        bracket = [start, point]
    best = 0 if bracket[0].loss <= bracket[-1].loss else 1
    near_end = False
    while not done and iterations < tries:
        left, right = sorted((bracket[0].t, bracket[1].t))
        if (right - left) * size < NARROWEST:
            break
        t = _cubic_minimum(bracket[0], bracket[1], left, right)
        margin = 0.1 * (right - left)
        close = min(right - t, t - left) < margin
        if close and (near_end or t >= right or t <= left):  # too little progress twice: not so near the end
            t = right - margin if abs(t - right) < abs(t - left) else left + margin
            close = False
        near_end = close
        point = along(t)
        evaluations, iterations = evaluations + 1, iterations + 1
        if _too_high(point, start) or point.loss >= bracket[best].loss:
            bracket[1 - best] = point
            best = 0 if bracket[0].loss <= bracket[1].loss else 1
            continue
        if point.slope.abs() <= -CURVATURE * start.slope:
            done = True
        elif point.slope * (bracket[1 - best].t - bracket[best].t) >= 0:
            bracket[1 - best] = bracket[best]
        bracket[best] = point
    return bracket[best], evaluations


def _too_high(point: Point, start: Point) -> bool:
    return bool(point.loss > start.loss + DESCENT * point.t * start.slope)


def _cubic_minimum(p: Point, q: Point, least: Any, most: Any) -> Any:
    """Where the cubic through p and q, with their slopes, has its minimum, kept within bounds; else their middle.

    For p <= q it is q - (q - p) (phi'_q + d2 - d1) / (phi'_q - phi'_p + 2 d2), with
    d1 = phi'_p + phi'_q - 3 (phi_p - phi_q) / (p - q) and d2 = sqrt(d1^2 - phi'_p phi'_q).
    """
    if p.t > q.t:
        p, q = q, p
    d1 = p.slope + q.slope - 3 * (p.loss - q.loss) / (p.t - q.t)
    square = d1 * d1 - p.slope * q.slope
    if not square >= 0:
        return (least + most) / 2.0
    d2 = square.sqrt()
    t = q.t - (q.t - p.t) * ((q.slope + d2 - d1) / (q.slope - p.slope + 2 * d2))
    return min(max(t, least), most)
