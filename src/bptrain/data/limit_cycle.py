"""Trajectories of the Van der Pol oscillator, which end on a limit cycle; made from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bptrain.config.component import setting
from bptrain.data.assemble import assemble
from bptrain.data.dataset import Data, Dataset
from bptrain.data.split import SPLIT, Split, divide
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from numpy import ndarray

MOST = 2**24  # numbers in all trajectories
STEP = 0.002  # of the solver; another of half the length changes no value by 1e-9


@dataclass(frozen=True)
class LimitCycle(Data, name="limit_cycle"):
    """x'' - mu (1 - x^2) x' + x = 0 (van der Pol 1926), from a start (x, x') drawn from [-3, 3]^2; a regression.

    Inputs are the start (2,), targets x and x' at `points` times, `interval` apart, the first of them an interval after
    the start: (points * 2,), in the order of time. They are in their own units.
    """

    examples: int = setting(500, "How many trajectories.", minimum=3, maximum=2**20)
    points: int = setting(40, "Points of a trajectory.", minimum=1, maximum=2**16)
    interval: float = setting(0.2, "Time between two points.", above=0, maximum=100)
    mu: float = setting(1.0, "Strength of the damping, which is negative where |x| < 1.", minimum=0, maximum=10)
    split: Split = setting(Split, SPLIT)

    def __post_init__(self) -> None:
        if self.examples * self.points * 2 > MOST or self.points * self.interval > 10_000:
            what = f"{self.examples} trajectories of {self.points} points are too much."
            raise RequestError(Problem("data.points", what, f"Stay below {MOST} numbers and a time of 10000."))

    def load(self, seed: int) -> Dataset:
        import numpy as np

        starts = np.random.default_rng(seed).uniform(-3, 3, (self.examples, 2))
        trajectories = trajectory(starts, self.points, self.interval, self.mu).reshape(self.examples, -1)
        rows = divide(trajectories, (), self.split, seed)
        inputs = {part: starts[chosen] for part, chosen in rows.items()}
        targets = {part: trajectories[chosen] for part, chosen in rows.items()}
        return assemble(self.name, inputs, targets, ())


def trajectory(starts: ndarray, points: int, interval: float, mu: float) -> ndarray:
    """(N, 2) -> (N, points, 2): the classical Runge-Kutta method in steps of at most STEP."""
    import numpy as np

    def slope(state: ndarray) -> ndarray:
        x, v = state
        return np.stack([v, mu * (1 - x * x) * v - x])  # (2, N)

    substeps = int(np.ceil(interval / STEP))
    h, state, found = interval / substeps, starts.T, []
    for _ in range(points):
        for _ in range(substeps):
            a = slope(state)
            b = slope(state + h / 2 * a)
            c = slope(state + h / 2 * b)
            d = slope(state + h * c)
            state = state + h / 6 * (a + 2 * b + 2 * c + d)
        found.append(state.T)
    return np.stack(found, 1)
