"""Descent along lines: BFGS and nonlinear conjugate gradients, by steps that satisfy the strong Wolfe conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

import torch
from torch import Tensor

from bptrain.optim.bfgs import BFGS as BFGSOptimizer
from bptrain.optim.cg import CG as CGOptimizer
from bptrain.reference.update import Evaluate, Options, State, Update

SLOPE = 0.01  # of the next direction in conjugate gradients, least
ROUNDING = 1e-9  # relative, of the two sides of a condition


class LineDescent(Update):
    """x' = x + t d for all parameters in a row x, where t satisfies

        f(x') <= f(x) + c1 t g d        |g' d| <= c2 |g d|.

    Any such t will do, so that it is taken from the optimizer: 0 where its search found none, or where no element of g
    is above gtol. What the search starts from, `before`, is the loss at x, at first that and |g| / 2.
    Source: Wolfe, SIAM Review 11 (1969); Nocedal and Wright, Numerical Optimization (2006), equation 3.7.
    """

    @staticmethod
    def start(w: Tensor, **options: float) -> State:
        return {}

    @classmethod
    def step(
        cls,
        parameters: tuple[Tensor, ...],
        evaluate: Evaluate,
        state: State,
        *,
        lr: float,
        gtol: float,
        c1: float,
        c2: float,
        t: float,
    ) -> tuple[tuple[Tensor, ...], State]:
        loss, g = _at(parameters, evaluate)
        length = (g * g).sum().sqrt()
        kept = {"n_iter": 0, "before": float(loss + length / 2), **cls.first(g), **state}
        if not t:
            return parameters, {**kept, "t": t}
        d = cls.direction(kept, g)
        new = tuple(_moved(parameters, t * d))
        _, there = _at(new, evaluate)
        kept = {"n_iter": int(kept["n_iter"]) + 1, "before": float(loss), **cls.next(kept, t * d, d, g, there)}
        return new, {**kept, "t": t}

    @classmethod
    def violated(
        cls,
        parameters: tuple[Tensor, ...],
        evaluate: Evaluate,
        state: State,
        *,
        lr: float,
        gtol: float,
        c1: float,
        c2: float,
        t: float,
    ) -> str:
        loss, g = _at(parameters, evaluate)
        if not t:
            return ""
        kept = cls.first(g) | state
        d = cls.direction(kept, g)
        found, there = _at(tuple(_moved(parameters, t * d)), evaluate)
        slope, left = g.dot(d).item(), there.dot(d).item()
        if not found <= loss + c1 * t * slope + ROUNDING * abs(loss):
            return f"the loss goes from {loss:.6g} to {found:.6g}, which is less descent than c1 asks for"
        if not abs(left) <= c2 * abs(slope) * (1 + ROUNDING):
            return f"the slope goes from {slope:.3g} to {left:.3g}, which is more than c2 leaves"
        return cls.unfit(kept, d, g, there, gtol)

    # Each method has its own: first(g), what is kept before the first step; direction(kept, g), d; and
    # next(kept, s, d, g, there), what is kept after the step s = t d, which leads to the gradient `there`.
    first: ClassVar[Callable[..., State]]
    direction: ClassVar[Callable[..., Tensor]]
    next: ClassVar[Callable[..., State]]

    @classmethod
    def unfit(cls, kept: State, d: Tensor, g: Tensor, there: Tensor, gtol: float) -> str:
        """What else a point breaks that satisfies the Wolfe conditions."""
        return ""


class BFGS(LineDescent, optimizers=[BFGSOptimizer], closure=True, mixes=True, given=("t",)):
    """d = -H g with H' = (I - r s y^T) H (I - r y s^T) + r s s^T, s = t d, y = g' - g, r = 1 / y s; the first H is I.

    Derivation. Of all symmetric H' with H' y = s, this is the nearest to H in a norm without units. It stays positive
    definite while y s > 0, which the second Wolfe condition gives: g' d >= c2 g d > g d. Multiplied out, with u = H y:

        H' = H - r (s u^T + u s^T) + (r + r^2 y u) s s^T = H + s a^T + a s^T,  a = (r + r^2 y u) s / 2 - r u.
    Source: Broyden; Fletcher; Goldfarb; Shanno (1970); Nocedal and Wright (2006), equation 6.17.
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {}
        yield {"gtol": 1e-2, "c1": 1e-2, "c2": 0.5}

    @staticmethod
    def first(g: Tensor) -> State:
        return {"H": torch.ones_like(g).expand(len(g), -1).tril().triu()}  # (N, N)

    @staticmethod
    def direction(kept: State, g: Tensor) -> Tensor:
        return -(kept["H"] @ g.to(kept["H"].dtype))

    @staticmethod
    def next(kept: State, s: Tensor, d: Tensor, g: Tensor, there: Tensor) -> State:
        h = kept["H"]
        y = (there - g).to(h.dtype)
        u, r = h @ y, 1 / y.dot(s)
        a = (r + r * r * y.dot(u)) / 2 * s - r * u
        return {"H": torch.addmm(h, torch.stack([s, a], 1), torch.stack([a, s]))}  # (N, 2) (2, N) -> (N, N)


class CG(LineDescent, optimizers=[CGOptimizer], closure=True, mixes=True, given=("t",)):
    """d' = beta d - g' with beta = max(0, (g' - g) g' / g g), where d' g' <= -0.01 g' g'; the first d is -g.

    Derivation. On a quadratic f with exact searches, this d' is conjugate to all directions before, so that N steps
    reach the minimum; elsewhere beta = 0 starts anew. The condition on d' makes the next direction one of descent,
    which the Wolfe conditions do not. A point with no element of g' above gtol is the last, and needs no next.
    Source: Polak and Ribiere (1969); Gilbert and Nocedal, SIAM J. Optimization 2 (1992), 21.
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {}
        yield {"gtol": 1e-2, "c1": 1e-2, "c2": 0.2}

    @staticmethod
    def first(g: Tensor) -> State:
        return {"d": -g}

    @staticmethod
    def direction(kept: State, g: Tensor) -> Tensor:
        return kept["d"]

    @staticmethod
    def next(kept: State, s: Tensor, d: Tensor, g: Tensor, there: Tensor) -> State:
        beta = ((there - g).dot(there) / g.dot(g)).clamp(min=0)
        return {"d": beta * d - there}

    @classmethod
    def unfit(cls, kept: State, d: Tensor, g: Tensor, there: Tensor, gtol: float) -> str:
        slope, size = cls.next(kept, d, d, g, there)["d"].dot(there).item(), there.dot(there).item()
        if there.abs().max() <= gtol or slope <= -SLOPE * size * (1 - ROUNDING):
            return ""
        return f"the next direction has a slope of {slope:.3g}, and {-SLOPE * size:.3g} is the most that is allowed"


def _at(parameters: tuple[Tensor, ...], evaluate: Evaluate) -> tuple[float, Tensor]:
    """The loss, and its gradient in a row (N)."""
    loss, gradients = evaluate(parameters)
    return float(loss), torch.cat([g.reshape(-1) for g in gradients])


def _moved(parameters: tuple[Tensor, ...], step: Tensor) -> Iterator[Tensor]:
    """The parameters plus the pieces of a step (N), in their dtype."""
    start = 0
    for w in parameters:
        yield (w + step[start : start + w.numel()].reshape(w.shape)).to(w.dtype)
        start += w.numel()
