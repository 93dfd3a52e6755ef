"""Layers of a stack that is spelled in YAML, each built for the shape of what comes to it."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bptrain.config.component import Component, setting
from bptrain.errors import Problem, RequestError
from bptrain.models.model import WIDEST

if TYPE_CHECKING:
    from torch import nn


class Layer(Component, abc.ABC, group="model/layer"):
    """A layer: its settings, and how to build it. Every activation is one too."""

    @abc.abstractmethod
    def after(self, shape: tuple[int, ...]) -> nn.Module:
        """The layer for (B, *shape), (F,) for a row of features, (C, L) for signals, (C, H, W) for images.

        ValueError when it can't follow such a shape.
        """


def stack(layers: tuple[Layer, ...], shape: tuple[int, ...], where: str) -> tuple[nn.Sequential, tuple[int, ...]]:
    """The layers one after the other, and the shape that one example leaves them with; RequestError at the first
    that can't follow what is before it."""
    import torch
    from torch import nn

    built = nn.Sequential()
    for i, layer in enumerate(layers):
        try:
            module = layer.after(shape)
            with torch.no_grad():
                left = module.eval()(torch.zeros(1, *shape)).shape[1:]
        except (ValueError, RuntimeError, IndexError) as error:
            said = f"{layer.name} can't follow an example of shape {shape}: {str(error).splitlines()[0]}"
            raise RequestError(Problem(f"{where}[{i}]", f"{said}.")) from error
        built.append(module.train())
        shape = tuple(left)
    return built, shape


def _of_axes(shape: tuple[int, ...], *kinds: str) -> type[nn.Module]:
    """The class of torch.nn for 0, 1 or 2 axes after the channels; ValueError where `kinds` has "" for it."""
    from torch import nn

    axes = len(shape) - 1
    if axes >= len(kinds) or not kinds[axes]:
        fitting = [words for words, kind in zip(("rows", "signals", "images"), kinds, strict=False) if kind]
        raise ValueError(f"it is for {' and '.join(fitting)}")
    found: type[nn.Module] = getattr(nn, kinds[axes])
    return found


@dataclass(frozen=True)
class Linear(Layer, name="linear"):
    """y = W x + b along the last axis."""

    units: int = setting(64, "values that come out", minimum=1, maximum=WIDEST)
    bias: bool = setting(True, "whether b is added")

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        return nn.Linear(shape[-1], self.units, self.bias)


@dataclass(frozen=True)
class Conv(Layer, name="conv"):
    """Convolution over signals or images, as torch.nn.Conv1d and Conv2d."""

    channels: int = setting(16, "channels that come out", minimum=1, maximum=WIDEST)
    kernel: int = setting(3, "width of the window", minimum=1, maximum=WIDEST)
    stride: int = setting(1, "step of the window", minimum=1, maximum=WIDEST)
    padding: int | Literal["same", "valid"] = setting("same", "zeros at each end", minimum=0, maximum=WIDEST)
    dilation: int = setting(1, "distance of the places that the window sees", minimum=1, maximum=WIDEST)
    groups: int = setting(1, "parts that channels are connected in", minimum=1, maximum=WIDEST)
    bias: bool = setting(True, "whether a bias is added")

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        kind = _of_axes(shape, "", "Conv1d", "Conv2d")
        padding: int | str = self.padding
        if padding == "same" and self.stride > 1:  # torch has it for a step of 1 alone
            padding = self.dilation * (self.kernel - 1) // 2
        return kind(
            shape[0],
            self.channels,
            self.kernel,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
            bias=self.bias,
        )


@dataclass(frozen=True)
class TransposedConv(Layer, name="transposed_conv"):
    """The map by which the gradient of a convolution goes back, as torch.nn.ConvTranspose1d and 2d."""

    channels: int = setting(16, "channels that come out", minimum=1, maximum=WIDEST)
    kernel: int = setting(2, "width of the window", minimum=1, maximum=WIDEST)
    stride: int = setting(2, "step of the window", minimum=1, maximum=WIDEST)
    padding: int = setting(0, "places left out at each end", minimum=0, maximum=WIDEST)

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        kind = _of_axes(shape, "", "ConvTranspose1d", "ConvTranspose2d")
        return kind(shape[0], self.channels, self.kernel, stride=self.stride, padding=self.padding)


@dataclass(frozen=True)
class Pool(Layer):
    """A window moves by its own width and leaves one value of each channel."""

    window: int = setting(2, "width and step of the window", minimum=1, maximum=WIDEST)


@dataclass(frozen=True)
class MaxPool(Pool, name="max_pool"):
    """The largest value of each window."""

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        return _of_axes(shape, "", "MaxPool1d", "MaxPool2d")(self.window)


@dataclass(frozen=True)
class AvgPool(Pool, name="avg_pool"):
    """The mean of each window."""

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        return _of_axes(shape, "", "AvgPool1d", "AvgPool2d")(self.window)


@dataclass(frozen=True)
class Average(Layer, name="average"):
    """The mean of each channel over all places: (C, ...) -> (C,)."""

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        return nn.Sequential(_of_axes(shape, "", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d")(1), nn.Flatten())


@dataclass(frozen=True)
class BatchNorm(Layer, name="batch_norm"):
    """Each feature or channel minus its mean, over its deviation, in the batch (Ioffe and Szegedy 2015)."""

    momentum: float = setting(0.1, "share of the running statistics that a batch replaces", minimum=0, maximum=1)

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        return _of_axes(shape, "BatchNorm1d", "BatchNorm1d", "BatchNorm2d")(shape[0], momentum=self.momentum)


@dataclass(frozen=True)
class LayerNorm(Layer, name="layer_norm"):
    """All values of an example minus their mean, over their deviation (Ba, Kiros and Hinton 2016)."""

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        return nn.LayerNorm(shape)


@dataclass(frozen=True)
class GroupNorm(Layer, name="group_norm"):
    """The same within groups of channels (Wu and He 2018)."""

    groups: int = setting(8, "groups of channels", minimum=1, maximum=WIDEST)

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        return nn.GroupNorm(self.groups, shape[0])


@dataclass(frozen=True)
class Dropout(Layer, name="dropout"):
    """Values set to 0 while training, the others grown to make up for it (Srivastava et al. 2014)."""

    p: float = setting(0.5, "share of the values", minimum=0, below=1)

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        return nn.Dropout(self.p)


@dataclass(frozen=True)
class Flatten(Layer, name="flatten"):
    """All values in one row: (*shape) -> (F,)."""

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        return nn.Flatten()


@dataclass(frozen=True)
class RecurrentLayer(Layer, name="recurrent"):
    """A recurrent layer over the places of signals: (C, L) -> (D H, L), or the last state alone, (D H,)."""

    kind: Literal["rnn", "gru", "lstm"] = setting("gru", "the units")
    hidden: int = setting(64, "units of each direction", minimum=1, maximum=WIDEST)
    bidirectional: bool = setting(False, "whether a second network reads from the end")
    output: Literal["every", "last"] = setting("last", "which states go on")

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        from bptrain.modules.recurrent_layer import RecurrentLayer

        if len(shape) != 2:
            raise ValueError("it is for signals")
        return RecurrentLayer(self.kind, shape[0], self.hidden, self.bidirectional, self.output)
