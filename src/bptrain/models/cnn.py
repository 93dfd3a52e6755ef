"""Convolutional network: over signals (channels, length) or images (channels, height, width)."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bptrain.config.component import setting
from bptrain.errors import Problem, RequestError
from bptrain.models.activation import Activation, ReLU
from bptrain.models.init import Init, gain, initialise
from bptrain.models.mlp import fully_connected
from bptrain.models.model import WIDEST, Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class CNN(Model, name="cnn"):
    """Convolutions, each with normalization, activation, pooling and dropout, then fully connected layers and a head.

    The data's shape says whether they are 1-d or 2-d. One number for `kernel`, `stride`, `padding` or `pool`
    is that of every convolution and every axis; a list has one for each convolution.
    """

    channels: tuple[int, ...] = setting((16, 32), "channels of each convolution", minimum=1, maximum=WIDEST)
    kernel: int | tuple[int, ...] = setting(
        3, "width of the window, one number, or one for each", minimum=1, maximum=WIDEST
    )
    stride: int | tuple[int, ...] = setting(
        1, "step of the window, one number, or one for each", minimum=1, maximum=WIDEST
    )
    padding: int | Literal["same"] | tuple[int | Literal["same"], ...] = setting(
        "same", "zeros at each end, one number, or one for each; same is kernel // 2", minimum=0, maximum=WIDEST
    )
    pooling: Literal["none", "max", "avg"] = setting("max", "what each convolution's values are pooled by")
    pool: int | tuple[int, ...] = setting(
        2, "width and step of pooling, one number, or one for each", minimum=1, maximum=WIDEST
    )
    norm: Literal["none", "batch", "layer", "group"] = setting("none", "normalization before each activation")
    groups: int = setting(8, "groups of channels of norm=group", minimum=1, maximum=WIDEST)
    activation: Activation = setting(ReLU, "activation of the convolutions and of the layers after them")
    dropout: float = setting(0.0, "share of hidden values set to 0 while training", minimum=0, below=1)
    head: Literal["flatten", "average"] = setting(
        "flatten", "what leaves the convolutions: all values, or channel means"
    )
    sizes: tuple[int, ...] = setting((), "units of each hidden layer after the convolutions", minimum=1, maximum=WIDEST)
    init: Init = setting("default", "how weights are drawn; default is torch's own way")

    def __post_init__(self) -> None:
        problems = []
        for key in ("kernel", "stride", "padding", "pool"):
            if len(self._each(key)) != len(self.channels):
                what = f"has {len(self._each(key))} entries for the {len(self.channels)} of model.channels."
                problems.append(Problem(f"model.{key}", what, "Write one for each, or a single number for all."))
        for i, (kernel, padding) in enumerate(zip(self._each("kernel"), self._each("padding"), strict=False)):
            if padding == "same" and kernel % 2 == 0:
                what = f"same needs an odd kernel, and that of conv {i + 1} is {kernel}."
                problems.append(Problem("model.padding", what, "Write the zeros at each end as a number."))
        if problems:
            raise RequestError(problems)

    def _each(self, key: str) -> tuple:
        """A setting that may be one for all, as one for each convolution."""
        given = getattr(self, key)
        return given if isinstance(given, tuple) else (given,) * len(self.channels)

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        if len(shape) not in (2, 3):
            what = f"cnn needs signals (channels, length) or images (channels, height, width), not inputs of {shape}."
            raise RequestError(Problem("model", what, "model=mlp fits."))
        layers = nn.Sequential()
        for i in range(len(self.channels)):
            layer, shape = self._layer(i, shape)
            layers.append(layer)
        parts: OrderedDict[str, nn.Module] = OrderedDict(layers=layers)
        if self.head == "average":
            parts["average"] = nn.AdaptiveAvgPool1d(1) if len(shape) == 2 else nn.AdaptiveAvgPool2d(1)  # (B, C, 1, ...)
            shape = shape[:1]
        features = math.prod(shape)
        parts["flatten"] = nn.Flatten()
        parts["hidden"] = fully_connected(features, self.sizes, self.activation, self.dropout)
        initialise(nn.Sequential(parts), self.init, gain(self.activation))
        parts["head"] = nn.Linear((features, *self.sizes)[-1], outputs)
        initialise(parts["head"], self.init)
        return nn.Sequential(parts)

    def _layer(self, i: int, shape: tuple[int, ...]) -> tuple[nn.Sequential, tuple[int, ...]]:
        """Convolution i and what follows it, and the shape that one example leaves it with.

        A window of k on n places with p zeros at each end fits floor((n + 2 p - k) / s) + 1 times.
        """
        from torch import nn

        kernel, stride, padding, pool = (self._each(key)[i] for key in ("kernel", "stride", "padding", "pool"))
        padding = kernel // 2 if padding == "same" else padding
        flat = len(shape) == 2
        places = tuple((n + 2 * padding - kernel) // stride + 1 for n in shape[1:])
        if min(places) < 1:
            what = f"conv {i + 1} gets {shape}, and its kernel of {kernel} does not fit, with padding {padding}."
            raise _does_not_fit(i, what)
        width = self.channels[i] * self.activation.widening
        if problem := self.activation.problem((width, *places)):
            raise RequestError(problem)
        conv: type[nn.Module] = nn.Conv1d if flat else nn.Conv2d
        layer = nn.Sequential(
            OrderedDict(conv=conv(shape[0], width, kernel, stride, padding, bias=self.norm != "batch"))
        )
        if self.norm == "batch":
            layer.add_module("norm", nn.BatchNorm1d(width) if flat else nn.BatchNorm2d(width))
        elif self.norm != "none":
            groups = 1 if self.norm == "layer" else self.groups
            if width % groups:
                what = f"{groups} does not divide the {width} channels of conv {i + 1}."
                raise RequestError(Problem("model.groups", what))
            layer.add_module("norm", nn.GroupNorm(groups, width))
        layer.add_module("activation", self.activation.build())
        if self.pooling != "none" and pool > 1:
            if min(places) < pool:
                what = f"pooling {i + 1} gets {(self.channels[i], *places)}, and its window of {pool} does not fit."
                raise _does_not_fit(i, what)
            kinds = {"max": (nn.MaxPool1d, nn.MaxPool2d), "avg": (nn.AvgPool1d, nn.AvgPool2d)}
            layer.add_module("pool", kinds[self.pooling][0 if flat else 1](pool))
            places = tuple(n // pool for n in places)
        if self.dropout:
            layer.add_module("dropout", nn.Dropout(self.dropout))
        return layer, (self.channels[i], *places)


def _does_not_fit(i: int, what: str) -> RequestError:
    cure = "Use fewer convolutions, a smaller kernel, more padding, or less stride or pooling."
    return RequestError(Problem(f"model.channels[{i}]", what, cure))
