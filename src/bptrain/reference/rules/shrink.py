"""Shrinkage: what is small becomes 0, or loses its linear part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.sigmoid import tanh


class Hardshrink(Rule, functions=[F.hardshrink, Tensor.hardshrink]):
    """y = x for |x| > l, else 0.

    Derivation. dy/dx = 1 for |x| > l, else 0. Convention at the jumps x = -l and x = l: 0.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("jumps", torch.tensor([[-1.5, -0.5, 0.0], [0.3, 0.5, 4.0]]), smooth=False)
        yield case("lambda", torch.tensor([-1.5, 0.2, 0.9]), 0.7)
        yield case("lambda by name", torch.tensor([-1.5, 0.2, 0.9]), lambd=0.7)

    @staticmethod
    def kinks(input: Tensor, lambd: float = 0.5) -> int:
        return int((input.abs() == lambd).sum())

    @staticmethod
    def forward(input: Tensor, lambd: float = 0.5) -> tuple[Tensor, Any]:
        large = input.abs() > lambd
        return torch.where(large, input, 0), large

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return torch.where(cache, dy, 0)


class Softshrink(Rule, functions=[F.softshrink]):
    """y = x - l for x > l, x + l for x < -l, else 0: the proximal map of l |x|.

    Derivation. dy/dx = 1 for |x| > l, else 0. Convention at the kinks x = -l and x = l: 0.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("kinks", torch.tensor([[-1.5, -0.5, 0.0], [0.3, 0.5, 4.0]]), smooth=False)
        yield case("lambda", torch.tensor([-1.5, 0.2, 0.9]), 0.7)
        yield case("lambda by name", torch.tensor([-1.5, 0.2, 0.9]), lambd=0.7)

    @staticmethod
    def kinks(input: Tensor, lambd: float = 0.5) -> int:
        return int((input.abs() == lambd).sum())

    @staticmethod
    def forward(input: Tensor, lambd: float = 0.5) -> tuple[Tensor, Any]:
        large = input.abs() > lambd
        return torch.where(large, input - lambd * input.sign(), 0), large

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return torch.where(cache, dy, 0)


class Tanhshrink(Rule, functions=[F.tanhshrink], cancels=True):
    """y = x - tanh(x).

    Derivation. dy/dx = 1 - (1 - tanh(x)^2) = tanh(x)^2.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("both tails", torch.tensor([[-20.0, -1.3, 0.0], [0.2, 1e-3, 20.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y = tanh(input)
        return input - y, y

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache**2
