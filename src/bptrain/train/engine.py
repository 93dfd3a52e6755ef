"""Step engines: what carries out one step. `Eager` is the plain truth that the others are held against."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from bptrain.data.dataset import Part
from bptrain.train.record import Chosen
from bptrain.train.state import State


class Engine(Protocol):
    """A step: takes the row indices of its batches, changes the state, returns the mean loss on the device.

    `chosen` says which engine it is where that has been decided while training.
    """

    chosen: Chosen | None

    def step(self, batches: Sequence[Tensor]) -> Tensor: ...


class Eager:
    """Forward propagation, error, backward propagation and weight adjustment, one torch call after the other.

    Model and loss are run inside `casts`.
    """

    chosen: Chosen | None = None

    def __init__(
        self,
        state: State,
        loss: nn.Module,
        part: Part,
        clip: float | None = None,
        casts: AbstractContextManager[object] | None = None,
    ) -> None:
        self.state, self.loss, self.clip = state, loss, clip
        self.model, self.optimizer = state.model, state.optimizer
        self.casts = casts or nullcontext()
        self.inputs, self.targets = part.inputs, part.targets
        self.parameters = [p for group in state.optimizer.param_groups for p in group["params"]]

    def step(self, batches: Sequence[Tensor]) -> Tensor:
        self._forget()
        loss = self._gradient(batches)
        self.optimizer.step()
        return loss

    def _forget(self) -> None:
        """What optimizer.zero_grad does, without its hooks for profilers and compilers: 6 microseconds a step."""
        for parameter in self.parameters:
            parameter.grad = None

    def _loss(self, batch: Tensor) -> Tensor:
        with self.casts:
            return self.loss(self.model(self.inputs.index_select(0, batch)), self.targets.index_select(0, batch))

    def _gradient(self, batches: Sequence[Tensor]) -> Tensor:
        """Adds the gradient of the mean loss over all rows of the batches to the parameters; returns that loss.

        A batch of b of the n rows counts b/n, so that several batches give the gradient of their union.
        """
        if len(batches) == 1:
            total = self._loss(batches[0])
            total.backward()
            total = total.detach()
        else:
            rows = sum(map(len, batches))
            total = torch.zeros((), device=self.inputs.device)
            for batch in batches:
                loss = self._loss(batch) * (len(batch) / rows)
                loss.backward()
                total = total + loss.detach()  # in the dtype of the loss
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        return total


class LineSearch(Eager):
    """The step of an optimizer that evaluates the loss several times itself, such as L-BFGS."""

    def step(self, batches: Sequence[Tensor]) -> Tensor:
        first: list[Tensor] = []

        def closure() -> float:
            self._forget()
            loss = self._gradient(batches)
            first.append(loss)
            return loss.item()

        self.optimizer.step(closure)
        return first[0]
