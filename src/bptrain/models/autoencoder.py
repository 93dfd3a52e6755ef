"""Autoencoder: a network that gives its input back through a narrow code."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset, Task, unsupervised
from bptrain.errors import Problem, RequestError
from bptrain.models.activation import Activation, ReLU
from bptrain.models.init import Init, gain, initialise
from bptrain.models.mlp import fully_connected
from bptrain.models.model import WIDEST, Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Autoencoder(Model, name="autoencoder"):
    """Encoder (B, *shape) -> (B, code), decoder (B, code) -> (B, *shape); code and output are linear.

    dense: hidden layers of `sizes`, in the decoder in reverse; without any, or with identity activations, the best it
    can do is to span the principal components (Bourlard and Kamp 1988, Baldi and Hornik 1989).
    convolutional: over signals or images, a convolution with a step of 2 for each of `channels`, then the layers of
    `sizes`; the decoder has transposed convolutions, each to the shape that its convolution had.
    recurrent: over signals, the final state of a GRU is encoded, and another is given the code at each step
    (Srivastava, Mansimov and Salakhutdinov 2015).
    Whatever the data's targets are, the inputs take their place.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("reconstruction", "anomaly")

    kind: Literal["dense", "convolutional", "recurrent"] = setting("dense", "what encoder and decoder are made of")
    code: int = setting(16, "numbers in a code", minimum=1, maximum=WIDEST)
    sizes: tuple[int, ...] = setting(
        (128,), "units of each fully connected layer of the encoder", minimum=1, maximum=WIDEST
    )
    channels: tuple[int, ...] = setting(
        (16, 32), "channels of each convolution of the encoder", minimum=1, maximum=WIDEST
    )
    kernel: int = setting(3, "width of the window of each convolution, an odd number", minimum=1, maximum=WIDEST)
    hidden: int = setting(64, "units of each recurrent network", minimum=1, maximum=WIDEST)
    activation: Activation = setting(ReLU, "activation of the layers of encoder and decoder")
    init: Init = setting("default", "how weights are drawn; default is torch's own way")

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            what = f"is {self.kernel}, which has no middle."
            raise RequestError(Problem("model.kernel", what, "Write an odd number."))

    def prepared(self, dataset: Dataset) -> Dataset:
        if dataset.task != "anomaly":
            return unsupervised(dataset, "reconstruction")
        if tuple(dataset.parts["train"].targets.shape[1:]) != dataset.shape:
            what = f"{self.name} gives its inputs back, and {dataset.name} asks for something else."
            raise RequestError(Problem("data.target", what, "Write data.target=window."))
        return dataset

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        from bptrain.modules import autoencoder

        return autoencoder.Autoencoder(*self.halves(shape, self.code))

    def halves(self, shape: tuple[int, ...], width: int) -> tuple[nn.Module, nn.Module]:
        """Encoder (B, *shape) -> (B, width) and decoder (B, code) -> (B, *shape). RequestError for another shape."""
        from torch import nn

        if self.kind == "recurrent":
            return self._recurrent(shape, width)
        inner, down, up = self._convolutions(shape) if self.kind == "convolutional" else (shape, [], [])
        outer = (inner[0] * self.activation.widening, *inner[1:]) if up else shape
        there, back = (
            fully_connected(inputs, sizes, self.activation, 0.0)
            for inputs, sizes in ((math.prod(inner), self.sizes), (self.code, self.sizes[::-1]))
        )
        initialise(nn.Sequential(*down, there, back, *up), self.init, gain(self.activation))
        code = nn.Linear((math.prod(inner), *self.sizes)[-1], width)
        head = nn.Linear((self.code, *self.sizes[::-1])[-1], math.prod(outer))
        initialise(nn.Sequential(code, head), self.init)
        encoder = OrderedDict(convolutions=nn.Sequential(*down), flatten=nn.Flatten(), layers=there, code=code)
        decoder = OrderedDict(layers=back, head=head, unflatten=nn.Unflatten(1, outer), convolutions=nn.Sequential(*up))
        return nn.Sequential(encoder), nn.Sequential(decoder)

    def _convolutions(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], list[nn.Module], list[nn.Module]]:
        """The shape that the convolutions leave one example with, they and those that undo them.

        With a step of 2 and half the window as padding n places become ceil(n / 2). The transposed convolution makes
        2 ceil(n / 2) - 1 of them, and one more where n is even. Before it stands the activation, so that none follows
        the last.
        """
        from torch import nn

        if len(shape) not in (2, 3):
            what = (
                f"kind=convolutional needs signals (channels, length) or images (channels, height, width), not {shape}."
            )
            raise RequestError(Problem("model", what, "model.kind=dense fits."))
        kinds = ((nn.Conv1d, nn.ConvTranspose1d), (nn.Conv2d, nn.ConvTranspose2d))
        conv, transposed = kinds[len(shape) - 2]
        window, widening = (self.kernel, 2, self.kernel // 2), self.activation.widening
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for channels in self.channels:
            before, shape = shape, (channels, *(math.ceil(n / 2) for n in shape[1:]))
            if problem := self.activation.problem((channels * widening, *shape[1:])):
                raise RequestError(problem)
            there = conv(before[0], channels * widening, *window)
            more = tuple(1 - n % 2 for n in before[1:])
            back = transposed(channels, before[0] * (widening if down else 1), *window, more)  # type: ignore[arg-type]
            down.append(nn.Sequential(OrderedDict(conv=there, activation=self.activation.build())))
            up.insert(0, nn.Sequential(OrderedDict(activation=self.activation.build(), conv=back)))
        return shape, down, up

    def _recurrent(self, shape: tuple[int, ...], width: int) -> tuple[nn.Module, nn.Module]:
        from torch import nn

        from bptrain.modules.autoencoder import SequenceDecoder, SequenceEncoder

        if len(shape) != 2:
            what = f"kind=recurrent needs signals (channels, length), not inputs of {shape}."
            cure = "model.kind=convolutional and model.kind=dense fit." if len(shape) == 3 else "model.kind=dense fits."
            raise RequestError(Problem("model", what, cure))
        channels, steps = shape
        reads = SequenceEncoder(channels, self.hidden)
        encoder = nn.Sequential(OrderedDict(states=reads, code=nn.Linear(self.hidden, width)))
        decoder = SequenceDecoder(self.code, channels, steps, self.hidden)
        initialise(encoder, self.init)
        initialise(decoder, self.init)
        return encoder, decoder
