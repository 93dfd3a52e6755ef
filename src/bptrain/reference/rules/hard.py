"""Piecewise linear and quadratic stand-ins for the smooth gates: hardtanh, relu6, hardsigmoid, hardswish."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


class Hardtanh(Rule, functions=[F.hardtanh, F.hardtanh_]):
    """y = min(max(x, a), b), with the bounds a = min_val and b = max_val.

    Derivation. dy/dx = 1 for a < x < b, else 0. Convention at the kinks x = a and x = b: 0
    (where clamp says 1).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("kinks", torch.tensor([[-1.5, -1.0, 0.0], [0.3, 1.0, 4.0]]), smooth=False)
        yield case("bounds", torch.tensor([-1.5, -0.2, 0.7, 2.9]), -0.5, 2.5)
        yield case("in place", torch.tensor([-1.5, -1.0, 0.5]), min_val=-1.0, max_val=2.0, inplace=True, smooth=False)

    @staticmethod
    def kinks(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> int:
        return int(((input == min_val) | (input == max_val)).sum())

    @staticmethod
    def forward(
        input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
    ) -> tuple[Tensor, Any]:
        return input.clamp(min_val, max_val), (input > min_val) & (input < max_val)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return torch.where(cache, dy, 0)


class ReLU6(Rule, functions=[F.relu6]):
    """y = min(max(x, 0), 6): hardtanh between 0 and 6, with its convention 0 at both kinks.

    Source: Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10 (2010).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("kinks", torch.tensor([[-1.5, 0.0, 2.0], [5.9, 6.0, 7.0]]), smooth=False)
        yield case("smooth", torch.tensor([-1.5, 0.7, 6.1]))
        yield case("in place", torch.tensor([-1.5, 0.0, 6.0]), inplace=True, smooth=False)

    @staticmethod
    def kinks(input: Tensor, inplace: bool = False) -> int:
        return Hardtanh.kinks(input, 0.0, 6.0)

    @staticmethod
    def forward(input: Tensor, inplace: bool = False) -> tuple[Tensor, Any]:
        return Hardtanh.forward(input, 0.0, 6.0)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return Hardtanh.backward(cache, dy)


class Hardsigmoid(Rule, functions=[F.hardsigmoid], inexact=1e-7):
    """y = min(max(x + 3, 0), 6) / 6.

    Derivation. dy/dx = 1/6 for -3 < x < 3, else 0. Convention at the kinks x = -3 and x = 3: 0.
    torch 2.13 keeps its 1/6 in float32, so that its float64 gradient is off by 3e-8.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        kinks = torch.tensor([[-4.0, -3.0, 0.0], [1.3, 3.0, 3.5]])
        yield case("kinks", kinks, smooth=False)
        yield case("smooth", torch.tensor([-4.0, -2.9, 0.7, 3.1]))
        yield case("in place", kinks, inplace=True, smooth=False)

    @staticmethod
    def kinks(input: Tensor, inplace: bool = False) -> int:
        return Hardtanh.kinks(input, -3.0, 3.0)

    @staticmethod
    def forward(input: Tensor, inplace: bool = False) -> tuple[Tensor, Any]:
        return (input + 3).clamp(0, 6) / 6, (input > -3) & (input < 3)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return torch.where(cache, dy / 6, 0)


class Hardswish(Rule, functions=[F.hardswish]):
    """y = x min(max(x + 3, 0), 6) / 6: 0 up to -3, x from 3 on, (x^2 + 3x) / 6 between.

    Derivation. dy/dx = 0, 1, and (2x + 3) / 6 between. Convention at the kinks: 0 at x = -3 and 1 at x = 3,
    the slopes outside. Source: Howard et al., arXiv 1905.02244 (2019).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("kinks", torch.tensor([[-4.0, -3.0, 0.0], [1.3, 3.0, 3.5]]), smooth=False)
        yield case("smooth", torch.tensor([-4.0, -2.9, 0.7, 3.1]))
        yield case("in place", torch.tensor([-3.0, 1.0, 3.0]), inplace=True, smooth=False)

    @staticmethod
    def kinks(input: Tensor, inplace: bool = False) -> int:
        return Hardtanh.kinks(input, -3.0, 3.0)

    @staticmethod
    def forward(input: Tensor, inplace: bool = False) -> tuple[Tensor, Any]:
        return input * ((input + 3).clamp(0, 6) / 6), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        inside = (2 * cache + 3) / 6
        return dy * torch.where(cache <= -3, 0, torch.where(cache >= 3, 1, inside))
