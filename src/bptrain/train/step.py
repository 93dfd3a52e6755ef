"""Step: forward propagation, error, backward propagation and update of one network as a function of tensors alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.optim import Optimizer
from torch.utils._pytree import tree_flatten, tree_unflatten

from bptrain.reference.draws import kept
from bptrain.train.convolution import OneByOne
from bptrain.train.noise import Noise, collected, given
from bptrain.train.program import Untraceable, place, reason
from bptrain.train.recurrence import Unrolled
from bptrain.train.smoothing import Smoothed
from bptrain.train.traceable import traceable
from bptrain.train.update import Update


class Lasting(NamedTuple):
    """The tensors of a network: trained parameters, their gradients, buffers that a forward pass changes, all other
    parameters and buffers, and the optimizer's state of each trained parameter."""

    trained: list[Tensor]
    gradients: list[Tensor]
    buffers: list[Tensor]
    others: list[Tensor]
    states: list[dict[str, Tensor]]


class Passing(NamedTuple):
    """What is new in each step: the `rows` of each batch, the numbers of the update, the share of label
    smoothing and the norm to clip to (n,), and what the network draws at random."""

    inputs: Tensor
    targets: Tensor
    rows: list[Tensor]
    numbers: Tensor
    noise: list[Tensor]


class _Objective(nn.Module):
    """Model and loss as one module: (inputs, targets) -> scalar."""

    def __init__(self, model: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(self.model(inputs), targets)


class Step:
    """One step of a network on batches whose gradients are averaged by their rows, as the eager engine makes it.

    Calling it with tensors like those of Passing and Lasting returns the mean loss, and changes in place what
    lasts: parameters, gradients, buffers and the optimizer's state. Without an `update` it stops at the gradients.
    `examples` are inputs and targets of batches, on which it runs the network once to see what it draws at random,
    and which parameters get a gradient; the network and torch's generators stay as they are. `activations` are the
    bytes that it then keeps for the way back. Untraceable where that would not do what the network does.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        update: Update | None,
        examples: Sequence[tuple[Tensor, Tensor]],
        clip: bool = False,
        casts: AbstractContextManager[object] | None = None,
        stacked: bool = False,
    ) -> None:
        self.stacked = stacked
        self.objective, self.update = _Objective(model, loss), update
        self.clip, self.casts = clip, casts or nullcontext()
        self.trained: list[str] = []
        self.buffers: list[str] = []
        self.noise = self._watch(examples)
        named = (*dict(self.objective.named_parameters()), *dict(self.objective.named_buffers()))
        self.others = [name for name in named if name not in (*self.trained, *self.buffers)]

    def _watch(self, examples: Sequence[tuple[Tensor, Tensor]]) -> list[Noise]:
        """What is drawn at random. Notes the parameters that get a gradient, and the buffers that are changed."""
        named = self.objective.named_parameters()
        copies = {name: p.detach().clone().requires_grad_(p.requires_grad) for name, p in named}
        parameters = {name: p for name, p in copies.items() if p.requires_grad}
        buffers = {name: buffer.clone() for name, buffer in self.objective.named_buffers()}
        tensors, losses = copies | buffers, []

        def forward() -> None:
            for batch in examples:
                losses.append(self._loss(tensors, *batch))

        seen: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            seen[tensor.data_ptr()] = tensor.nbytes
            return tensor

        saved = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        try:
            with kept(), saved, traceable(self.objective.model):
                noise = collected(forward)
            gradients = torch.autograd.grad(torch.stack(losses).sum(), list(parameters.values()), allow_unused=True)
        except Untraceable:
            raise
        except Exception as error:  # a module of the user's own can fail in any way
            raise Untraceable(reason(error) + place(error)) from error
        for name, buffer in buffers.items():
            if tensors[name] is not buffer:
                raise Untraceable(f"its forward pass replaces the buffer {name.removeprefix('model.')}, not its values")
        self.activations = sum(seen.values())
        self.trained = [name for name, g in zip(parameters, gradients, strict=True) if g is not None]
        self.buffers = [name for name, buffer in buffers.items() if buffer._version]
        return noise

    def _loss(self, tensors: dict[str, Tensor], inputs: Tensor, targets: Tensor, smoothing: Any = None) -> Tensor:
        with self.casts, Unrolled(), Smoothed(smoothing), OneByOne() if self.stacked else nullcontext():
            return functional_call(self.objective, tensors, (inputs, targets))

    def lasting(self, optimizer: Optimizer) -> Lasting:
        """The network's own tensors; gives parameters a gradient, and the optimizer its state, where they have none."""
        named = dict(self.objective.named_parameters()) | dict(self.objective.named_buffers())
        trained = [named[name] for name in self.trained]
        for w in trained:
            if w.grad is None:
                w.grad = torch.zeros_like(w)
        states = [self.update.begin(optimizer, w) for w in trained] if self.update is not None else []
        gradients: list[Any] = [w.grad for w in trained]
        buffers, others = ([named[name] for name in names] for names in (self.buffers, self.others))
        return Lasting(list(trained), gradients, buffers, others, states)

    def __call__(self, passing: Passing, lasting: Lasting) -> Tensor:
        named = dict(zip(self.others, lasting.others, strict=True))
        total = sum(map(len, passing.rows))
        inputs, targets = passing.inputs, passing.targets
        *numbers, smoothing, clip = passing.numbers.unbind()

        def mean(trained: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            buffers = [buffer.clone() for buffer in lasting.buffers]  # a transform must not change what it captures
            tensors = named | dict(zip((*self.trained, *self.buffers), (*trained, *buffers), strict=True))
            with given(passing.noise):
                losses = [self._loss(tensors, inputs[rows], targets[rows], smoothing) for rows in passing.rows]
            if len(losses) == 1:
                return losses[0], buffers
            shares = [y * (len(rows) / total) for y, rows in zip(losses, passing.rows, strict=True)]
            return torch.stack(shares).sum(), buffers

        gradients, (loss, buffers) = grad_and_value(mean, has_aux=True)(lasting.trained)
        with torch.no_grad():
            for buffer, new in zip(lasting.buffers, buffers, strict=True):
                buffer.copy_(new)
            if self.clip:
                norm = torch.stack([g.norm() for g in gradients]).norm()
                gradients = [g * (clip / (norm + 1e-6)).clamp(max=1) for g in gradients]
            for mine, g in zip(lasting.gradients, gradients, strict=True):
                mine.copy_(g)
            for w, g, state in zip(lasting.trained, gradients, lasting.states, strict=False):
                self.update.apply(w, g, state, numbers)  # type: ignore[union-attr]
        return loss.detach()


def flat(
    function: Callable[[Passing, Lasting], Tensor], passing: Passing, lasting: Lasting
) -> tuple[Callable[..., list[Tensor]], list[Tensor]]:
    """The function as one of tensors in a row, those that pass first, and these tensors."""
    leaves, spec = tree_flatten((passing, lasting))
    return lambda *tensors: [function(*tree_unflatten(tensors, spec))], leaves
