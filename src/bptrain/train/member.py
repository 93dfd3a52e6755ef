"""Member: a run as part of a population."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from bptrain.config.component import Component
from bptrain.reference.draws import kept
from bptrain.train.engine import Eager
from bptrain.train.health import HealthMonitor
from bptrain.train.noise import drawn
from bptrain.train.order import batches, permutation
from bptrain.train.program import Untraceable
from bptrain.train.run import Run
from bptrain.train.state import State
from bptrain.train.step import Step
from bptrain.train.update import update_of


class Member:
    """A run that has been built, by the number that its records go under; torch's generator is where building left it.

    Its dropout draws from a generator of its own, and gets the draws that the run alone would get. `offset` is where
    its training part begins among those of all. Untraceable, with the reason, when it has to go alone.
    """

    def __init__(self, number: int, run: Run) -> None:
        self.number, self.run, self.offset, self.running = number, run, 0, True
        update = None if run.settings.optimizer.closure else update_of(run.state.optimizer)
        if update is None:
            raise Untraceable(
                f"{run.settings.optimizer.name} has no step for stacked networks, or not with its options"
            )
        if run.settings.fit.on_nonfinite != "stop":
            raise Untraceable(f"fit.on_nonfinite={run.settings.fit.on_nonfinite} goes back by itself")
        if run.device.type != "cpu":
            raise Untraceable("populations are trained on a CPU")
        if not isinstance(run.dataset.parts["train"].inputs, Tensor):
            raise Untraceable("its data is not in memory, as data.in_memory=true would have it")
        self.update = update
        run.state.generator = torch.Generator().set_state(torch.get_rng_state())
        self.steps: dict[tuple[int, ...], Step] = {}
        first = batches(self.order(0), run.batch_size, run.settings.fit.drop_last)[: run.settings.fit.accumulate]
        self.sizes = tuple(map(len, first))
        _, self.spec = tree_flatten(self.step(self.sizes).lasting(run.state.optimizer))
        self.health = HealthMonitor(run, [name.removeprefix("model.") for name in self.step(self.sizes).trained])

    @property
    def parameters(self) -> list[Tensor]:
        return self.group["params"]

    @property
    def group(self) -> dict[str, Any]:
        return self.run.state.optimizer.param_groups[0]

    @property
    def smoothing(self) -> float:
        return float(getattr(self.run.settings.loss, "label_smoothing", 0.0))

    def order(self, epoch: int) -> Tensor:
        """The rows of an epoch among those of all members (N,)."""
        return permutation(len(self.run.dataset.parts["train"]), self.run.settings.seed, epoch) + self.offset

    def step(self, sizes: tuple[int, ...]) -> Step:
        """The step for batches of such sizes."""
        if sizes not in self.steps:
            part, run = self.run.dataset.parts["train"], self.run
            examples = [(part.inputs[:size], part.targets[:size]) for size in sizes]
            clips = run.settings.fit.clip is not None
            self.steps[sizes] = Step(run.state.model, run.loss, self.update, examples, clips, run.casts, stacked=True)
        return self.steps[sizes]

    def tensors(self) -> list[Tensor]:
        return tree_flatten(self.step(self.sizes).lasting(self.run.state.optimizer))[0]

    @property
    def activations(self) -> int:
        """Bytes that its step keeps for the way back."""
        return self.step(self.sizes).activations

    def draw(self, sizes: tuple[int, ...]) -> list[Tensor]:
        """What a step on batches of such sizes draws at random."""
        return drawn(self.step(sizes).noise, self.run.state.generator)

    def take(self, rows: list[Tensor], step: int) -> Tensor:
        """The step after `step` others by itself, on `rows` of its own; its mean loss."""
        state, gradients = self.run.state, [w.grad for w in self.parameters]
        self.group["lr"] = state.schedule.due(step)[0]
        torch.set_rng_state(state.generator.get_state())
        loss = self.run.engine.step(rows)
        state.generator.set_state(torch.get_rng_state())
        for w, gradient in zip(self.parameters, gradients, strict=True):
            if w.grad is not None and gradient is not None:
                w.grad = gradient.copy_(w.grad)  # which is a part of the stack
        return loss

    def seconds(self, rows: list[Tensor], calls: int) -> float:
        """What such a step takes alone: the median of some, on a copy."""
        state, run, times = self.run.state, self.run, []
        model, optimizer = copy.deepcopy((state.model, state.optimizer))
        copied = State(model, optimizer, state.schedule)
        engine = Eager(copied, run.loss, run.dataset.parts["train"], run.settings.fit.clip, run.casts)
        with kept():
            for _ in range(calls):
                start = time.perf_counter()
                engine.step(rows)
                times.append(time.perf_counter() - start)
        return median(times)

    def leave(self) -> None:
        """It is through: its tensors become its own again."""
        self.running = False
        for tensor in self.tensors():
            tensor.data = tensor.data.clone()

    def kind(self) -> str:
        """What members of a population have in common: all but numbers that are handed to its program."""
        run, update = self.run, self.update
        fit, part = run.settings.fit, run.dataset.parts["train"]
        switches = {key: value for key, value in self.group.items() if isinstance(value, bool)}
        common = (
            (_masked(run.settings.model), run.settings.data, _masked(run.settings.loss)),
            (type(run.state.optimizer), update.slots, update.decays, switches),
            (run.batch_size, fit.drop_last, fit.accumulate, fit.tbptt, fit.clip is None, fit.deterministic),
            (run.settings.precision, run.settings.threads, run.settings.device),
            [(tuple(x.shape), x.dtype) for x in (part.inputs, part.targets, *self.tensors())],
            [*_constants(run.state.model), *_constants(run.loss)],
        )
        return repr(common)


def _masked(component: Component) -> tuple[type, dict[str, Any]]:
    """A component without its rates of dropout and label smoothing, but for whether there are any."""
    options = vars(component)
    shared = {key: value for key, value in options.items() if not key.endswith(("dropout", "label_smoothing"))}
    return type(component), shared | {key: bool(value) for key, value in options.items() if key not in shared}


def _constants(network: nn.Module) -> Iterator[tuple[str, str, Any]]:
    """What modules keep besides parameters and buffers: a program of all members has that of the first in it."""
    for name, module in network.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor):
                yield name, key, value.tolist()
            elif isinstance(value, (int, float, str)) and key not in ("p", "dropout", "label_smoothing"):
                yield name, key, value
