"""Dropout: elements or whole channels set to a constant at random while training, the rest scaled.

The mask is read from the call: repeated under the draws it made, on ones, it shows which elements it kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case

CHANNELS = [F.dropout1d, F.dropout2d, F.dropout3d]
DIRECT = [torch.dropout, torch.dropout_, torch.feature_dropout, torch.feature_dropout_]
ALPHA = [F.alpha_dropout, F.feature_alpha_dropout]
DIRECT_ALPHA = [torch.alpha_dropout, torch.alpha_dropout_, torch.feature_alpha_dropout, torch.feature_alpha_dropout_]
SATURATION = 1.7580993408473766  # -SELU(-infinity), lambda alpha of Klambauer et al.


class Dropout(Rule, functions=[F.dropout, *CHANNELS], random=True):
    """y = m x / (1 - p), with a mask m of 0 (with probability p) and 1 for each element, or for each channel.

    Without `training` y = x; for p = 1 all of y is 0.
    Derivation. The mask does not depend on x, so dx = m dy / (1 - p).
    Source: Srivastava et al., Journal of Machine Learning Research 15 (2014).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.randn(3, 5, 2)
        yield case("elements", x)
        for p in (0.0, 0.3, 1.0):
            yield case(f"p = {p}", x, p, True, False)
        yield case("evaluation", x, 0.3, training=False)
        yield case("in place", x, inplace=True)
        yield case("channels of signals", x, 0.4, function=F.dropout1d)
        yield case("channels of one signal", x[0], 0.4, function=F.dropout1d)
        yield case("channels of images", torch.randn(3, 5, 2, 3), 0.4, function=F.dropout2d)
        yield case("channels of volumes", torch.randn(2, 5, 1, 3, 2), 0.4, function=F.dropout3d)

    @staticmethod
    def forward(
        input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, again: Callable
    ) -> tuple[Tensor, Any]:
        return _dropped(input, p, training, again(torch.ones_like(input), p, training, inplace))

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


class DirectDropout(Rule, functions=DIRECT, random=True):
    """torch's own dropout of elements or channels, below torch.nn.functional: as `Dropout`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("elements", torch.randn(3, 5, 2), 0.4, True)
        yield case("evaluation", torch.randn(3, 5), p=0.4, train=False)

    @staticmethod
    def forward(input: Tensor, p: float, train: bool, *, again: Callable) -> tuple[Tensor, Any]:
        return _dropped(input, p, train, again(torch.ones_like(input), p, train))

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


class AlphaDropout(Rule, functions=ALPHA, random=True):
    """y = a (m x - (1 - m) s) + a s p: dropped elements or channels go to -s, where SELU saturates.

    With s = 1.758... and a = ((1 - p) (1 + p s^2))^(-1/2) a mean of 0 and a variance of 1 stay so.
    Without `training` y = x; for p = 1 all of y is 0.
    Derivation. dx = a m dy.
    Source: Klambauer et al., arXiv 1706.02515 (2017).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.randn(3, 5, 2)
        for p in (0.0, 0.3, 1.0):
            yield case(f"p = {p}", x, p, True, False)
        yield case("evaluation", x)
        yield case("in place", x, training=True, inplace=True)
        yield case("channels", x, 0.3, True, function=F.feature_alpha_dropout)

    @staticmethod
    def forward(
        input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False, *, again: Callable
    ) -> tuple[Tensor, Any]:
        return _saturated(input, p, training, again(torch.ones_like(input), p, training, inplace))

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


class DirectAlphaDropout(Rule, functions=DIRECT_ALPHA, random=True):
    """torch's own alpha dropout of elements or channels, below torch.nn.functional: as `AlphaDropout`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("elements", torch.randn(3, 5, 2), 0.4, True)
        yield case("evaluation", torch.randn(3, 5), p=0.4, train=False)

    @staticmethod
    def forward(input: Tensor, p: float, train: bool, *, again: Callable) -> tuple[Tensor, Any]:
        return _saturated(input, p, train, again(torch.ones_like(input), p, train))

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


def _dropped(x: Tensor, p: float, training: bool, ones: Tensor) -> tuple[Tensor, Tensor]:
    """y and the slope dy/dx of dropout, from what it made of ones (0 where it dropped)."""
    kept = 1 - p if training and p < 1 else 1
    slope = (ones != 0).to(x.dtype) / kept
    return x * slope, slope


def _saturated(x: Tensor, p: float, training: bool, ones: Tensor) -> tuple[Tensor, Tensor]:
    """y and the slope dy/dx of alpha dropout, from what it made of ones (not positive where it dropped)."""
    kept = (ones > 0).to(x.dtype)
    if not training or p == 1:
        return x * kept, kept
    a = 1 / math.sqrt((1 - p) * (1 + p * SATURATION**2))
    return a * (x * kept + SATURATION * (kept - 1 + p)), a * kept
