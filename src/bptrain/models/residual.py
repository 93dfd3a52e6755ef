"""Residual networks: blocks whose input is added to what they make of it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bptrain.config.component import setting
from bptrain.models.activation import Activation, ReLU
from bptrain.models.init import Init, gain, initialise
from bptrain.models.layer import Average, BatchNorm, Conv, Dropout, Flatten, Layer, LayerNorm, Linear, stack
from bptrain.models.model import WIDEST, Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Skip(Layer, name="skip"):
    """y = f(x) + x, with f a stack of layers; where f changes the shape, x goes through a linear map to that shape."""

    layers: tuple[Layer, ...] = setting((Linear(64), ReLU()), "layers of f, by name, each with its settings")

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        from bptrain.modules.skip import Skip

        body, left = stack(self.layers, shape, "layers")
        if left == shape:
            return Skip(body)
        if len(shape) == len(left) == 1:
            return Skip(body, Linear(left[0]).after(shape))
        # A window of 1 that moves by s sees ceil(n / s) of n places.
        for stride in range(1, max(shape) + 1):
            if left[1:] == tuple(-(-n // stride) for n in shape[1:]):
                return Skip(body, Conv(left[0], 1, stride).after(shape))
        raise ValueError(f"its layers leave {left}, to which no projection of the input is known")


@dataclass(frozen=True)
class Residual(Model, name="residual"):
    """Stages of blocks y = x + W2 a(n(W1 a(n(x)))), with a the activation and n the normalization before it.

    W are linear for rows of a table and convolutions for signals and images; there each stage after the first halves
    every axis by a stride of 2, and the head sees the mean of each channel.
    He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", ECCV (2016), figure 1b.
    """

    sizes: tuple[int, ...] = setting((32, 64), "units or channels of each stage", minimum=1, maximum=WIDEST)
    blocks: int = setting(2, "blocks of each stage", minimum=1, maximum=1024)
    kernel: int = setting(3, "width of the window of convolutions", minimum=1, maximum=WIDEST)
    norm: Literal["none", "batch", "layer"] = setting("batch", "normalization before each activation")
    activation: Activation = setting(ReLU, "activation in the blocks and before the head")
    dropout: float = setting(0.0, "share of values set to 0 in each block while training", minimum=0, below=1)
    init: Init = setting("kaiming_normal", "how weights are drawn; default is torch's own way")

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        flat = len(shape) == 1
        layers: list[Layer] = [self._map(self.sizes[0], flat)] if self.sizes else []
        for stage, size in enumerate(self.sizes):
            for block in range(self.blocks):
                stride = 2 if stage and not block else 1
                first, second = self._map(size, flat, stride), self._map(size, flat)
                dropout = (Dropout(self.dropout),) if self.dropout else ()
                layers.append(Skip((*self._before(), first, *self._before(), *dropout, second)))
        layers += [*self._before(), Flatten() if flat else Average()]
        built, left = stack(tuple(layers), shape, "model.sizes")
        initialise(built, self.init, gain(self.activation))
        head = nn.Linear(left[0], outputs)
        initialise(head, self.init)
        return nn.Sequential(OrderedDict(layers=built, head=head))

    def _map(self, size: int, flat: bool, stride: int = 1) -> Layer:
        width, bias = size * self.activation.widening, self.norm != "batch"  # which would subtract it again
        return Linear(width, bias) if flat else Conv(width, self.kernel, stride, bias=bias)

    def _before(self) -> list[Layer]:
        norm: dict[str, list[Layer]] = {"none": [], "batch": [BatchNorm()], "layer": [LayerNorm()]}
        return [*norm[self.norm], self.activation]
