"""Health: norms of weights, gradients and updates in one step of an epoch, and what they say about the training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

from bptrain.train.record import Finding, Health
from bptrain.train.run import Run
from bptrain.train.state import full

# Bounds between what was measured in trainings that go well and in those that don't: presets, each optimizer, networks
# of up to 12 layers, and rates of up to 1000.
SILENT = 3  # evaluations in a row with a gradient of 0: on a batch of few rows all units can be off by chance
VANISHING = 1e-6  # of a weight's gradient in the last layer, left in the first; presets 4e-3, 12 sigmoid layers 3e-8
LARGE = 0.2  # share of a matrix that a step changes; presets 0.04, rprop, which finds its own lengths, 0.15
EARLY = 3  # epochs in which that may be larger: rmsprop begins with 0.3
EXPLODING = 100.0  # times the median of the gradient's norm; presets 9
KNOWN, RECENT = 3, 50  # evaluations from which that is known, and the latest that it is known by
SCHEDULED = 0.01  # of the rate at the start: where a schedule has made it lower, updates are small on purpose
Note = tuple[str, str, float, str]  # finding, parameter, value, text


class HealthMonitor:
    """Measures the last whole step of each epoch that is evaluated; nothing is read from the device before `read`.

    `names` are the parameters whose norms are measured, all that are trained if None. Each finding is told once.
    """

    def __init__(self, run: Run, names: Sequence[str] | None = None) -> None:
        self.run = run
        trained = {name: p for name, p in run.state.model.named_parameters() if p.requires_grad}
        self.names = list(trained) if names is None else list(names)
        self.parameters: list[Tensor] = [trained[name] for name in self.names]
        self.unreached = [name for name in trained if name not in self.names]
        self.judged = not run.settings.optimizer.closure  # one that searches a step's length has none too long
        # What is known of earlier epochs is part of the state: the figures that are not read yet, for how many
        # evaluations a gradient has been 0, the latest norms of the gradient and whether one was not 0, whether an
        # update was ever above rounding, which parameters had no gradient at that step.
        first: dict[str, Any] = {
            "figures": None,
            "silent": dict.fromkeys(self.names, 0),
            "norms": [],
            "signal": False,
            "changed": False,
            "told": [],
            "missing": [],
        }
        self.memory = run.state.health
        self.memory.update(first | self.memory)
        self.matrices = {i: p.numel() for i, p in enumerate(self.parameters) if p.ndim > 1}

    def due(self, epoch: int) -> int:
        """The step of an epoch, counted from 0, to measure; -1 for none. A last batch of few rows tells little."""
        fit, rows = self.run.settings.fit, len(self.run.dataset.parts["train"])
        if not fit.health or ((epoch + 1) % fit.evaluate and epoch + 1 != fit.epochs):
            return -1
        return max(1, rows // (self.run.batch_size * fit.accumulate)) - 1

    def begin(self) -> None:
        """To call before that step."""
        self.before = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def end(self) -> None:
        """To call after it."""
        self.memory["missing"] = [n for n, p in zip(self.names, self.parameters, strict=True) if p.grad is None]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        torch._foreach_sub_(self.before, self.parameters)
        norms = torch._foreach_norm([*self.parameters, *self.before, *gradients])
        whole = [full(n) for n in norms]
        self.measured(torch.stack(whole))
        del self.before

    def measured(self, figures: Tensor) -> None:
        """Takes in the norms of parameters, updates and gradients (3 P,)."""
        self.memory["figures"] = figures

    def read(self, loss: Tensor) -> tuple[float, Health | None]:
        """A loss (), and the health at that step if it was measured, in one transfer."""
        figures, self.memory["figures"] = self.memory["figures"], None
        if figures is None:
            return loss.item(), None
        value, *norms = torch.cat([loss.reshape(1), figures.to(loss.device)]).tolist()
        count = len(self.names)
        return value, self._health(norms[:count], norms[count : 2 * count], norms[2 * count :])

    def _health(self, weights: list[float], updates: list[float], gradients: list[float]) -> Health:
        state, norm = self.run.state, math.hypot(*gradients)
        shares = [update / weight if weight else None for update, weight in zip(updates, weights, strict=True)]
        known = {name: share for name, share in zip(self.names, shares, strict=True) if share is not None}
        notes: dict[str, Note] = {}
        for note in self._notes(shares, gradients, norm):
            notes.setdefault(note[0], note)
        found = [
            Finding(state.epoch, state.step, *note) for kind, note in notes.items() if kind not in self.memory["told"]
        ]
        self.memory["told"] += [kind for kind in notes if kind not in self.memory["told"]]
        self.memory["norms"] = [*self.memory["norms"], norm][-RECENT:]
        self.memory["signal"] = self.memory["signal"] or norm != 0
        length = math.hypot(*weights)
        return Health(norm, math.hypot(*updates) / length if length else None, known, tuple(found))

    def _notes(self, shares: list[float | None], gradients: list[float], norm: float) -> Iterator[Note]:
        yield from self._unreached(gradients, norm)
        yield from self._vanishing(gradients)
        if self.judged:
            yield from self._updates(shares, gradients)
        norms = self.memory["norms"]
        usual = median(norms) if len(norms) >= KNOWN else math.inf
        if not math.isfinite(norm) or norm > EXPLODING * usual > 0:
            times = f", {norm / usual:.0f} times the median of earlier epochs" if math.isfinite(norm) else ""
            yield "exploding", "", norm, f"the gradient explodes: its norm is {norm:.2g}{times}. Try fit.clip=1."

    def _unreached(self, gradients: list[float], norm: float) -> Iterator[Note]:
        """Parameters without a gradient. Where all are 0 that were not, the loss is as low as it gets."""
        silent = self.memory["silent"]
        if norm or not self.memory["signal"]:
            for name, gradient in zip(self.names, gradients, strict=True):
                silent[name] = 0 if gradient else silent[name] + 1
        without = self.memory["missing"]
        zero = [name for name, times in silent.items() if times >= SILENT and name not in without]
        if without := [*self.unreached, *without]:
            why = "the loss does not depend on it."
            yield "unreached", without[0], 0.0, f"no gradient reaches {_first_of(without)}: {why}"
        elif zero:
            why = "units are off or saturated, or a detach is in the way. A lower optimizer.lr keeps units alive."
            yield "unreached", zero[0], 0.0, f"the gradient of {_first_of(zero)} is 0: {why}"

    def _vanishing(self, gradients: list[float]) -> Iterator[Note]:
        if len(self.matrices) < 2:
            return
        first, last = min(self.matrices), max(self.matrices)
        near, far = (gradients[i] / math.sqrt(self.matrices[i]) for i in (last, first))
        if 0 < far < VANISHING * near:
            names = f"a weight's in {self.names[first]} is {far / near:.1g} of one's in {self.names[last]}"
            cure = "Fewer layers, normalization or another activation keep it up."
            yield "vanishing", self.names[first], far / near, f"the gradient vanishes on its way back: {names}. {cure}"

    def _updates(self, shares: list[float | None], gradients: list[float]) -> Iterator[Note]:
        """Of the matrices that have a gradient: that none has been changed so far, and one that is changed too much."""
        known = {self.names[i]: share for i in self.matrices if (share := shares[i]) is not None and gradients[i]}
        if not known:
            return
        name = max(known, key=known.__getitem__)
        share, eps = known[name], torch.finfo(self.parameters[0].dtype).eps
        self.memory["changed"] = self.memory["changed"] or share >= eps
        state = self.run.state
        if not self.memory["changed"] and state.lr >= SCHEDULED * state.schedule.base[0]:
            what = f"a step changes {name} by {share:.1g} of its length, less than rounding"
            yield "unchanged", name, share, f"weights do not change: {what}. Try a higher optimizer.lr."
        if share > LARGE and self.run.state.epoch > EARLY:
            what = f"a step changes {name} by {share:.0%} of its length, where 0.1% is usual"
            yield "too large", name, share, f"updates are too large: {what}. Try a lower optimizer.lr."


def _first_of(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
