"""The learning rate that a step used in each parameter group, against the one that was due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from bptrain.check.figures import number, plain
from bptrain.check.tolerance import GradientError, digits, roundoff
from bptrain.check.verdict import VERIFIED, WRONG

FACTOR = 4.0  # a rate is computed once and stored: so many units of roundoff are other orders of operations


class Schedule(Protocol):
    """`base`: the rate of each parameter group without the schedule; `due(step)`: with it, in step 0, 1, ..."""

    base: list[float]

    def due(self, step: int) -> list[float]: ...


@dataclass(frozen=True)
class SteppedRate:
    """The rate that a parameter group used in `step` 0, 1, ..., the one due, and how far off it is.

    The `fault` of the error says which other rate it is, where it is one.
    """

    group: int
    step: int
    used: float
    due: float
    error: GradientError

    def __str__(self) -> str:
        words = f"the learning rate of group {self.group} in step {self.step + 1} is {self.used:.10g}"
        return f"{words}, and {self.due:.10g} is due" + (f": {self.error.fault}" if self.error.fault else "")

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        found = {"group": self.group, "step": self.step, "used": number(self.used), "due": number(self.due)}
        return found | plain(self.error)


def rates_of(optimizer: Optimizer) -> list[Tensor]:
    """The rate of each parameter group as of now, in the dtype it is kept in; a number is kept in float64."""
    rates = [group["lr"] for group in optimizer.param_groups]
    return [r.detach().cpu().clone() if isinstance(r, Tensor) else torch.tensor(r, dtype=torch.float64) for r in rates]


def compare_rates(used: Sequence[Tensor], schedule: Schedule, step: int) -> list[SteppedRate]:
    """What is `used` in step 0, 1, ..., by parameter group, against what is due."""
    return [_compare(rate, schedule, step, group) for group, rate in enumerate(used)]


def others(schedule: Schedule, step: int, group: int) -> dict[str, float]:
    """The rates that a group may have been given instead, by the words for it."""
    now = schedule.due(step)
    found = {"one step late": schedule.due(step - 1)[group]} if step else {}
    found |= {
        "one step early": schedule.due(step + 1)[group],
        "the base, without the schedule": schedule.base[group],
        "that of the first step": schedule.due(0)[group],
    }
    found |= {f"that of group {i}": rate for i, rate in enumerate(now) if i != group}
    return {words: rate for words, rate in found.items() if rate != now[group]}


def _compare(rate: Tensor, schedule: Schedule, step: int, group: int) -> SteppedRate:
    used, due, unit = rate.item(), schedule.due(step)[group], roundoff(rate.dtype)

    def near(other: float) -> bool:
        return abs(used - other) <= FACTOR * unit * abs(other)

    error = abs(used - due) / (abs(due) or 1.0)
    fault = "" if near(due) else next((words for words, r in others(schedule, step, group).items() if near(r)), "")
    found = GradientError(error, FACTOR * unit, VERIFIED if near(due) else WRONG, expected=digits(unit), fault=fault)
    return SteppedRate(group, step, used, due, found)
