"""Rectifiers: two straight lines that meet at a threshold, the left one with a small slope or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


class ReLU(Rule, functions=[F.relu, torch.relu, Tensor.relu, torch.relu_, Tensor.relu_]):
    """y = max(x, 0), x and y (*).

    Derivation. dy/dx = 1 for x > 0 and 0 for x < 0. Convention at the kink x = 0: 0.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("kink", torch.tensor([[-1.5, 0.0, 2.0], [0.3, -0.0, -4.0]]), smooth=False)
        yield case("smooth", torch.tensor([-1.5, 0.7, 2.0]))
        yield case("in place", torch.tensor([-1.5, 0.0, 2.0]), inplace=True, smooth=False)

    @staticmethod
    def kinks(input: Tensor, *args: Any, **kwargs: Any) -> int:
        return int((input == 0).sum())

    @staticmethod
    def forward(input: Tensor, inplace: bool = False) -> tuple[Tensor, Any]:
        return input.clamp(min=0), input > 0

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return torch.where(cache, dy, 0)


class LeakyReLU(Rule, functions=[F.leaky_relu, F.leaky_relu_]):
    """y = x for x > 0, else s x, with the negative slope s.

    Derivation. dy/dx = 1 for x > 0, else s. Convention at the kink x = 0: s.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("kink", torch.tensor([[-1.5, 0.0, 2.0], [0.3, -0.2, -4.0]]), smooth=False)
        yield case("slope", torch.tensor([-1.5, 0.7, 2.0]), negative_slope=0.3)
        yield case("in place", torch.tensor([-1.5, 0.0, 2.0]), 0.2, True, smooth=False)

    kinks = staticmethod(ReLU.kinks)

    @staticmethod
    def forward(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> tuple[Tensor, Any]:
        slope = torch.where(input > 0, torch.ones_like(input), negative_slope)
        return slope * input, slope

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


class PReLU(Rule, functions=[F.prelu, Tensor.prelu]):
    """y = x for x > 0, else w x, with one learned slope w (1) or one for each channel w (C), x (B, C, ...).

    Derivation. dy/dx = 1 for x > 0, else w; dy/dw = 0 for x > 0, else x, summed over all places that
    share the slope. Convention at the kink x = 0: w for x (and 0 = x for w).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.tensor([[[-1.5, 0.0, 2.0], [0.3, -0.2, -4.0]], [[1.0, -1.0, 0.5], [0.1, -3.0, 0.0]]])
        yield case("one slope, kink", x, torch.tensor([0.25]), smooth=False)
        yield case("a slope for each channel", torch.randn(3, 2, 4), torch.tensor([0.25, -0.5]))
        yield case("vector", torch.randn(3), torch.tensor([0.25]))
        yield case("number", torch.tensor(-0.7), torch.tensor([0.25]))
        yield case("scalar slope", torch.randn(3, 2), torch.tensor(0.25))

    kinks = staticmethod(ReLU.kinks)

    @staticmethod
    def forward(input: Tensor, weight: Tensor) -> tuple[Tensor, Any]:
        channels = input.shape[1] if input.dim() > 1 and weight.numel() > 1 else 1
        w = weight.reshape(channels, *[1] * (input.dim() - 2)) if input.dim() > 1 else weight.sum()  # (C, 1, ...) or ()
        positive = input > 0
        return torch.where(positive, input, w * input), (input, weight, w, positive)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        input, weight, w, positive = cache
        dw = torch.where(positive, 0, dy * input)
        if weight.numel() > 1:
            dw = dw.transpose(0, 1).reshape(weight.numel(), -1).sum(1)  # (C)
        else:
            dw = dw.sum()  # ()
        return torch.where(positive, dy, w * dy), dw.reshape(weight.shape)


class RReLU(Rule, functions=[F.rrelu, torch.rrelu, F.rrelu_], random=True):
    """y = x for x > 0, else r x; training draws each slope r from U(lower, upper), else r = (lower + upper) / 2.

    The draws are read from the call: on -1 wherever x <= 0 and 1 elsewhere it draws for the same
    elements and returns -r or 1. Derivation. dy/dx = 1 for x > 0, else r. Convention at the kink x = 0: r.
    Source: Xu et al., arXiv 1505.00853 (2015).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.tensor([[-1.5, 0.0, 2.0], [0.3, -0.2, -4.0]])
        yield case("mean slope, kink", x, smooth=False)
        yield case("random slopes, kink", x, training=True, smooth=False)
        yield case("random slopes", torch.randn(3, 5), 0.1, 0.9, True)
        yield case("bounds", torch.randn(3, 2), 0.1, 0.9, False)
        yield case("in place", x, training=True, inplace=True, smooth=False)

    kinks = staticmethod(ReLU.kinks)

    @staticmethod
    def forward(
        input: Tensor,
        lower: float = 1 / 8,
        upper: float = 1 / 3,
        training: bool = False,
        inplace: bool = False,
        *,
        again: Callable,
    ) -> tuple[Tensor, Any]:
        side = torch.where(input > 0, torch.ones_like(input), -1)
        if training:
            slope = again(side, lower, upper, training=True).abs()
        else:
            slope = torch.where(input > 0, side, (lower + upper) / 2)
        return slope * input, slope

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


class Threshold(Rule, functions=[F.threshold, torch.threshold, torch.threshold_]):
    """y = x for x > threshold, else a constant value.

    Derivation. dy/dx = 1 for x > threshold, else 0. Convention at the jump x = threshold: 0.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("jump", torch.tensor([[-1.5, 0.5, 2.0], [0.3, -0.2, 4.0]]), 0.5, -3.0, smooth=False)
        yield case("smooth", torch.randn(3, 2), threshold=0.1, value=20.0)
        yield case("in place", torch.tensor([0.5, 2.0, -1.0]), 0.5, 1.0, True, smooth=False)

    @staticmethod
    def kinks(input: Tensor, threshold: float, *args: Any, **kwargs: Any) -> int:
        return int((input == threshold).sum())

    @staticmethod
    def forward(input: Tensor, threshold: float, value: float, inplace: bool = False) -> tuple[Tensor, Any]:
        above = input > threshold
        return torch.where(above, input, value), above

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return torch.where(cache, dy, 0)
