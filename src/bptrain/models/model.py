"""Model: the base of every architecture."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from bptrain.config.component import Component

if TYPE_CHECKING:
    from torch import nn


WIDEST = 2**20  # units of a layer, and places of a window


class Model(Component, abc.ABC, group="model"):
    """An architecture: its settings, and how to build the network for inputs of a given shape."""

    @abc.abstractmethod
    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network: (B, *shape) -> (B, outputs), its last layer a Linear named `head`.

        Weights are drawn from torch's global generator on the CPU. RequestError when `shape` does not
        fit, naming the layer.
        """
