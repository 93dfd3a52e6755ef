"""The batches of a step, forward and backward on copies of the model as the engine should do it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bptrain.check.autocast import Autocast
from bptrain.check.end_to_end import EndToEnd
from bptrain.check.recording import Recording, record
from bptrain.check.stepped_gradient import Gradients
from bptrain.reference.draws import Draws, repeated

Check = Callable[[Recording, Recording], object]


@dataclass(frozen=True)
class Batches:
    """Inputs and targets of each batch that a step accumulates, and how they are run."""

    parts: list[tuple[Tensor, Tensor]]
    loss: nn.Module
    casts: AbstractContextManager[object]  # what model and loss are run in
    seed: int

    @property
    def sizes(self) -> list[int]:
        return [len(inputs) for inputs, _ in self.parts]

    @property
    def shares(self) -> list[float]:
        """Of the rows of the step."""
        return [size / sum(self.sizes) for size in self.sizes]

    def run(self, model: nn.Module, draws: Draws, check: Check | None = None) -> list[Recording]:
        """A recording of each batch, by the copy of the model that the one before left, and its draws.

        `check` gets another one of the same in float64 first. What a backward pass starts from is the share of the
        batch, since under accumulation that decides how it rounds. The gradients of the parameters are those of the
        same pass without a tape, which makes autocast cast a weight at each of its uses: that adds up their gradients
        in float32, and not in bfloat16.
        """
        recordings: list[Recording] = []
        with self.casts:
            autocast = Autocast.now()
        for (inputs, targets), share in zip(self.parts, self.shares, strict=True):
            loss = self.loss if share == 1 else _Share(self.loss, share)
            own = record(model, (inputs,), targets, loss, None, self.seed, draws, autocast)
            own.gradients |= self._plain(model, loss, inputs, targets, draws)
            if check is not None:
                check(record(model, (inputs,), targets, loss, torch.float64, self.seed, draws), own)
            recordings.append(own)
            model, draws = own.model, own.after  # type: ignore[assignment]
        return recordings

    def _plain(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor, draws: Draws
    ) -> dict[str, Tensor | None]:
        """Autograd's gradients of one batch by name of the parameter."""
        model, loss = copy.deepcopy((model, loss))
        wanted = {name: p for name, p in model.named_parameters() if p.requires_grad}
        for parameter in wanted.values():
            parameter.grad = None
        with repeated(draws), torch.enable_grad():
            with self.casts:
                value = loss(model(inputs), targets)
            value.backward()
        return {name: p.grad if p.grad is None else p.grad.to_dense() for name, p in wanted.items()}

    def losses(self, recordings: list[Recording]) -> list[Tensor]:
        """The mean loss of each batch."""
        values = [r.tape.values[variable] for r in recordings for variable in r.seeds]
        return [value / share for value, share in zip(values, self.shares, strict=True)]

    def gradients(self, recordings: list[Recording], names: list[str]) -> list[Gradients]:
        """The gradients of the mean loss of each batch, by name of the parameter."""
        return [
            {name: g / share for name in names if (g := recording.gradients.get(name)) is not None}
            for recording, share in zip(recordings, self.shares, strict=True)
        ]

    def exact_gradients(self, recordings: list[Recording], names: list[str]) -> list[Gradients]:
        """The same by the reference in float64, from what the recordings saw and drew."""
        ends = [EndToEnd.of(recording, torch.Generator()) for recording in recordings]
        return [
            {name: end.gradient(name) / share for name in names if end.recording.gradients.get(name) is not None}
            for end, share in zip(ends, self.shares, strict=True)
        ]


class _Share(nn.Module):
    """The loss of a batch times its share."""

    def __init__(self, loss: nn.Module, share: float) -> None:
        super().__init__()
        self.loss, self.share = loss, share

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.loss(output, target) * self.share
