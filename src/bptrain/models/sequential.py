"""Sequential: any stack of layers, spelled in YAML."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bptrain.config.component import setting
from bptrain.models.activation import ReLU
from bptrain.models.init import Init, initialise
from bptrain.models.layer import Flatten, Layer, Linear, stack
from bptrain.models.model import Model
from bptrain.models.residual import Skip

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Sequential", "Skip"]  # the layers that a stack may have include those that other files define


@dataclass(frozen=True)
class Sequential(Model, name="sequential"):
    """The layers one after the other, then a linear head on all values that leave them.

    Each layer has a name, and settings where it is written as {name: conv, channels: 16}; every activation is a layer.
    """

    layers: tuple[Layer, ...] = setting((Flatten(), Linear(64), ReLU()), "layers by name, each with its settings")
    init: Init = setting("default", "how weights are drawn; default is torch's own way")

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        layers, shape = stack(self.layers, shape, "model.layers")
        flatten = nn.Flatten()
        head = nn.Linear(math.prod(shape), outputs)
        network = nn.Sequential(OrderedDict(layers=layers, flatten=flatten, head=head))
        initialise(network, self.init)
        return network
