"""Descent along lines: one iteration of scipy.optimize.minimize a step, with scipy's line search."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

SHORTEST, LONGEST = 1e-100, 1e100  # of the first search, as minimize has it
CONVERGED = "no gradient is above optimizer.gtol"
STUCK = "the line search found no step that lowers the loss by more than rounding"


class Point(NamedTuple):
    """A length t along the line, the loss there and its gradient, float64 (N)."""

    t: float
    loss: float
    gradient: Tensor


class LineDescent(Optimizer):
    """x' = x + t d for all parameters in a row x (N), in float64, where t satisfies the strong Wolfe conditions

        f(x') <= f(x) + c1 t g d        |g' d| <= c2 |g d|

    and d is what a subclass makes of what it keeps in the state: tensors, beside `t`, 0 where no step was made;
    `before`, the loss before the step, from which the next search takes its first length; and `n_iter`.
    A step is one iteration: it evaluates the loss at x, then along d. `stopped` says why there is no use in another.
    `lr`, which is 1, is the longest that a search starts with.
    Source: scipy.optimize.minimize, whose iterates these are.
    """

    stopped = ""

    def __init__(self, params: Any, gtol: float, c1: float, c2: float) -> None:
        super().__init__(params, {"lr": 1.0, "gtol": gtol, "c1": c1, "c2": c2})
        if len(self.param_groups) > 1:
            raise ValueError("all parameters are searched together: there can't be groups of them")

    @property
    def parameters(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    @abc.abstractmethod
    def start(self, g: Tensor) -> dict[str, Tensor]:
        """What is kept before the first step."""

    @abc.abstractmethod
    def direction(self, kept: dict[str, Tensor], g: Tensor) -> Tensor:
        """d (N)."""

    @abc.abstractmethod
    def moved(self, kept: dict[str, Tensor], d: Tensor, here: Point, there: Point) -> dict[str, Tensor]:
        """What is kept after the step from `here` to `there`; may change `kept` in place."""

    def allows(self, d: Tensor, here: Point, there: Point) -> bool:
        """Whether a point that satisfies the Wolfe conditions may be taken."""
        return True

    @torch.no_grad()
    def step(self, closure: Callable[[], float]) -> float:  # type: ignore[override]
        group, state = self.param_groups[0], self.state[self.parameters[0]]
        x = _row(self.parameters)
        here = self._evaluate(x, x, 0.0, closure)
        if not state:
            state.update(self.start(here.gradient), before=here.loss + here.gradient.norm().item() / 2, n_iter=0)
        state["t"] = 0.0
        if _flat(here, group["gtol"]):
            self.stopped = CONVERGED
            return here.loss
        d = self.direction(state, here.gradient)
        there = search(
            lambda t: self._evaluate(x, d, t, closure),
            lambda point: self.allows(d, here, point),
            here,
            state["before"],
            d,
            group["c1"],
            group["c2"],
        )
        if there is None:
            self._put(x)
            self.stopped = STUCK
            return here.loss
        self._put(x + there.t * d)
        state.update(self.moved(state, d, here, there), before=here.loss, n_iter=state["n_iter"] + 1, t=there.t)
        self.stopped = CONVERGED if _flat(there, group["gtol"]) else ""
        return here.loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for kept in state_dict["state"].values():  # torch has cast it to the dtype of the parameters
            first = self.parameters[0]
            self.state[first] = {k: v.to(first.device, copy=True) if torch.is_tensor(v) else v for k, v in kept.items()}

    def _put(self, x: Tensor) -> None:
        for p, row in zip(self.parameters, x.split([p.numel() for p in self.parameters]), strict=True):
            p.copy_(row.view_as(p))

    def _evaluate(self, x: Tensor, d: Tensor, t: float, closure: Callable[[], float]) -> Point:
        self._put(x + t * d)
        with torch.enable_grad():
            loss = float(closure())
        return Point(t, loss, _row(torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters))


def search(
    along: Callable[[float], Point],
    allows: Callable[[Point], bool],
    here: Point,
    before: float,
    d: Tensor,
    c1: float,
    c2: float,
) -> Point | None:
    """The point along d that scipy.optimize.minimize takes, by its first search or else its second, or None.

    The first is that of More and Thuente (1994), the second that of Nocedal and Wright (2006), algorithms 3.5 and 3.6.
    """
    from scipy.optimize import _linesearch as scipy_search

    last = here

    def at(t: float) -> Point:
        nonlocal last
        if t != last.t:
            last = along(t)
        return last

    def loss(t: float) -> float:
        return at(t).loss

    def slope(t: float) -> float:
        return at(t).gradient.dot(d).item()

    start = (loss, slope, here.loss, before, slope(0.0))
    t, *_ = scipy_search.scalar_search_wolfe1(*start, c1=c1, c2=c2, amax=LONGEST, amin=SHORTEST)
    if t is not None and allows(at(t)):
        return at(t)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy_search.LineSearchWarning)  # `found` says it
        t, _, _, found = scipy_search.scalar_search_wolfe2(
            *start, c1=c1, c2=c2, amax=LONGEST, extra_condition=lambda t, _: allows(at(t))
        )
    return None if t is None or found is None else at(t)


def _row(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1).double() for tensor in tensors])


def _flat(point: Point, gtol: float) -> bool:
    return bool(point.gradient.abs().max() <= gtol)
