"""Schedulers: the learning rate as a function of the step, the optimizer's own `lr` being its base.

The rates are those of torch.optim.lr_scheduler (the tests compare), written here as functions of the step so that
they don't wrap `optimizer.step`, hold for any engine of it, and go on from a step number alone.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bptrain.config.component import Component, setting

if TYPE_CHECKING:
    from torch.optim import Optimizer

Rate = Callable[[int, float], float]  # (steps made, base) -> learning rate of the next step


class Schedule:
    """Sets the learning rates of an optimizer while it trains; this one leaves them as they are.

    `base` has the rate of each parameter group at the start. No other option of an optimizer is scheduled.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.base = [float(group["lr"]) for group in optimizer.param_groups]

    def due(self, step: int) -> list[float]:
        """The rate of each parameter group in step 0, 1, ...; with a drop to come, as if it did not come."""
        return self.base

    def step(self, steps: int = 1) -> None:
        """To call after each step of the optimizer, or after so many."""

    def evaluated(self, value: float) -> None:
        """To call after each evaluation with what is monitored, so signed that lower is better."""

    def state_dict(self) -> dict[str, Any]:
        """All that changes while training, as JSON has it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up such a state and sets the rates it stands for."""


class Varying(Schedule):
    """Before step t = 0, 1, ... sets the rate of each parameter group to rate(t, base), its base that at the start."""

    def __init__(self, optimizer: Optimizer, rate: Rate) -> None:
        super().__init__(optimizer)
        self.optimizer = optimizer
        self.rate = rate
        self.steps = 0
        self.apply()

    def due(self, step: int) -> list[float]:
        return [self.rate(step, base) for base in self.base]

    def apply(self) -> None:
        groups = self.optimizer.param_groups  # as they are now: restoring an optimizer makes new ones
        for group, rate in zip(groups, self.due(self.steps), strict=True):
            if isinstance(group["lr"], (int, float)):
                group["lr"] = rate
            else:  # a tensor, which a compiled step reads anew
                group["lr"].fill_(rate)

    def step(self, steps: int = 1) -> None:
        self.steps += steps
        self.apply()

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "base": self.base}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.base = state["steps"], state["base"]
        self.apply()


@dataclass(frozen=True)
class Scheduler(Component, group="scheduler"):
    """Settings of a schedule. During warm-up each rate is multiplied by 1/(w+1), 2/(w+1), ... w/(w+1) over w steps."""

    warmup: float = setting(0.0, "linear rise from near 0 at the start", minimum=0, maximum=1e6, unit="epochs")

    def build(self, optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> Schedule:
        """The schedule of a training of `total_steps` steps; sets the rates of the first."""
        warm = round(self.warmup * steps_per_epoch)
        rate = self.rate(warm, max(1, total_steps - warm), steps_per_epoch)
        return Varying(optimizer, _warming(rate, warm))

    def rate(self, warm: int, rest: int, steps_per_epoch: int) -> Rate:
        """The rate but for the factor of the warm-up, which takes `warm` steps and leaves `rest`."""
        return lambda t, base: base


def _warming(rate: Rate, warm: int) -> Rate:
    return lambda t, base: rate(t, base) * min(1.0, (t + 1) / (warm + 1))


@dataclass(frozen=True)
class Constant(Scheduler, name="constant"):
    """The base at every step."""

    def build(self, optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> Schedule:
        return super().build(optimizer, total_steps, steps_per_epoch) if self.warmup else Schedule(optimizer)


@dataclass(frozen=True)
class Step(Scheduler, name="step"):
    """The base times gamma for each step_size epochs since the start; torch's StepLR."""

    step_size: int = setting(30, "time between two drops", minimum=1, unit="epochs")
    gamma: float = setting(0.1, "factor of a drop", above=0, maximum=1)

    def rate(self, warm: int, rest: int, steps_per_epoch: int) -> Rate:
        return lambda t, base: base * self.gamma ** (t // (self.step_size * steps_per_epoch))


@dataclass(frozen=True)
class Cosine(Scheduler, name="cosine"):
    """Half a cosine from the base, after warm-up, to eta_min at the end (Loshchilov and Hutter 2017)."""

    eta_min: float = setting(0.0, "learning rate at the end", minimum=0)

    def rate(self, warm: int, rest: int, steps_per_epoch: int) -> Rate:
        return lambda t, base: _cos(base, self.eta_min, min(max(t - warm, 0) / rest, 1.0))


def _cos(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _linear(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


@dataclass(frozen=True)
class OneCycle(Scheduler, name="one_cycle"):
    """From base / div_factor up to the base, then down to base / (div_factor final_div_factor) at the last step.

    torch's OneCycleLR with cycle_momentum=False (Smith and Topin 2018): momentum stays what the optimizer says.
    """

    pct_start: float = setting(0.3, "share of the steps that rise", minimum=0, below=1)
    anneal_strategy: Literal["cos", "linear"] = setting("cos", "form of rise and fall")
    div_factor: float = setting(25.0, "the base over the first rate", minimum=1)
    final_div_factor: float = setting(1e4, "the first rate over the last", minimum=1)

    def rate(self, warm: int, rest: int, steps_per_epoch: int) -> Rate:
        between = _cos if self.anneal_strategy == "cos" else _linear
        top, last = self.pct_start * rest - 1, rest - 1

        def rate(t: int, base: float) -> float:
            low = base / self.div_factor
            t = min(max(t - warm, 0), last)
            if t < top:
                return between(low, base, t / top)
            return between(base, low / self.final_div_factor, (t - top) / (last - top))

        return rate


@dataclass(frozen=True)
class Plateau(Scheduler, name="plateau"):
    """Times `factor` whenever more than `patience` evaluations in a row have brought no improvement.

    torch's ReduceLROnPlateau with threshold_mode="abs", which is right for a value of either sign.
    """

    factor: float = setting(0.1, "factor of a drop", above=0, below=1)
    patience: int = setting(10, "in a row without improvement before a drop", minimum=0, unit="evaluations")
    threshold: float = setting(1e-4, "least improvement that counts", minimum=0)
    cooldown: int = setting(0, "pause of the count after a drop", minimum=0, unit="evaluations")
    min_lr: float = setting(0.0, "learning rate below which no drop leads", minimum=0)

    def build(self, optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> Schedule:
        return Dropping(optimizer, self, round(self.warmup * steps_per_epoch))


class Dropping(Varying):
    """The schedule of Plateau: the best value so far, evaluations since, and the steps before which it dropped."""

    def __init__(self, optimizer: Optimizer, settings: Plateau, warm: int) -> None:
        self.settings = settings
        self.best: float | None = None
        self.bad = self.cooling = 0
        self.drops: list[int] = []
        super().__init__(optimizer, _warming(self._dropped, warm))

    def _dropped(self, t: int, base: float) -> float:
        scale = self.settings.factor ** bisect_right(self.drops, t)
        return min(base, max(base * scale, self.settings.min_lr))

    def evaluated(self, value: float) -> None:
        if value < (math.inf if self.best is None else self.best - self.settings.threshold):
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        if self.cooling:
            self.cooling -= 1
            self.bad = 0
        if self.bad > self.settings.patience:
            self.drops = [*self.drops, self.steps]
            self.bad, self.cooling = 0, self.settings.cooldown
            self.apply()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {key: getattr(self, key) for key in ("best", "bad", "cooling", "drops")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key in ("best", "bad", "cooling", "drops"):
            setattr(self, key, state[key])
        super().load_state_dict(state)
