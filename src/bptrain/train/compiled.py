"""Compiled: the engine whose step is one program."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from bptrain.reference.draws import kept
from bptrain.train.engine import Eager
from bptrain.train.noise import drawn
from bptrain.train.program import Compute, Program, Untraceable
from bptrain.train.record import Chosen
from bptrain.train.step import Passing, Step, flat
from bptrain.train.update import update_of


class Compiled:
    """Forward propagation, backward propagation and update as one program, for batches of the sizes of `batches`.

    Batches of other sizes, such as the last of an epoch, are left to `eager`, and so are updates that are not in
    `bptrain.train.update`. Parameters, gradients, buffers and the optimizer's state are the same tensors in both.
    Untraceable when there is no such program.
    """

    chosen: Chosen | None = None

    def __init__(self, eager: Eager, batches: Sequence[Tensor]) -> None:
        if not isinstance(eager.inputs, Tensor):
            raise Untraceable("its data is not in memory, as data.in_memory=true would have it")
        self.eager, self.sizes = eager, [len(rows) for rows in batches]
        self.update = update_of(eager.optimizer)
        examples = [(eager.inputs[rows], eager.targets[rows]) for rows in batches]
        clip = eager.clip is not None
        self.step_of = Step(eager.model, eager.loss, self.update, examples, clip, eager.casts)
        lasting = tree_map(Tensor.detach, self.step_of.lasting(eager.optimizer))
        self.lasting = tree_leaves(lasting)
        with kept():
            passing = self._passing(batches)
        made = flat(self.step_of, passing, lasting)
        self.program = Program(*made)
        if Program(*made).path() != self.program.path():
            raise Untraceable("traced twice it is not the same: something in it changes that is no tensor")
        self.kept = list(zip(eager.parameters, (w.grad for w in eager.parameters), strict=True))
        self.away = False  # whether an eager step has put other gradients in their place

    def compile(self) -> None:
        """Until then the program runs call by call. Untraceable if it can't be compiled."""
        self.program.compile()

    def step(self, batches: Sequence[Tensor], run: Compute | None = None) -> Tensor:
        """A step; `run` is called in the place of the program."""
        if [len(rows) for rows in batches] != self.sizes:
            self.away = True
            return self.eager.step(batches)
        if self.away:
            for w, gradient in self.kept:
                w.grad = gradient
            self.away = False
        (loss,) = (run or self.program.run)([*tree_leaves(self._passing(batches)), *self.lasting])
        if self.update is None:
            self.eager.optimizer.step()
        return loss

    def _passing(self, batches: Sequence[Tensor]) -> Passing:
        eager, numbers = self.eager, []
        if self.update is not None:
            numbers = self.update.numbers(eager.optimizer.param_groups[0], eager.state.step + 1)
        smoothing = getattr(eager.loss, "label_smoothing", 0.0)
        numbers = [*numbers, smoothing, eager.clip or 0.0]
        given = torch.tensor(numbers, dtype=self.lasting[0].dtype, device=eager.inputs.device)
        return Passing(eager.inputs, eager.targets, list(batches), given, drawn(self.step_of.noise))
