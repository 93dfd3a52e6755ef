"""The honest surroundings: small networks of ordinary layers with one Function among them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import Function

Around = Callable[[type[Function]], nn.Module]


class Applied(nn.Module):
    """A layer that calls a Function with its input and weights of the given shapes."""

    def __init__(self, function: type[Function], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(0.5 * torch.randn(shape) for shape in shapes)

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, *self.weights)


def perceptron(*shapes: tuple[int, ...]) -> Around:
    """Maps (..., 5) to (..., 3); the Function gets (..., 6)."""

    def around(function: type[Function]) -> nn.Module:
        layer = Applied(function, *shapes)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), layer, nn.Linear(6, 7), nn.Sigmoid(), nn.Linear(7, 3))

    return around


class Wide(nn.Module):
    """Maps (B, 4) to (B, 3) with few parameters; the Function gets (B, 600), the products of 25 units and 24."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 25), nn.Linear(4, 24), nn.Linear(25, 3)
        self.layer = Applied(function)

    def forward(self, x: Tensor) -> Tensor:
        products = self.first(x).unsqueeze(2) * self.second(x).unsqueeze(1)  # (B, 25, 24)
        y = self.layer(products.flatten(1)).unflatten(1, (25, 24))  # (B, 600) -> (B, 25, 24)
        return self.last(y.mean(2))


def convolutional(*shapes: tuple[int, ...]) -> Around:
    """Maps (B, 2, L) to (B, 3); the Function gets (B, 3, L)."""

    def around(function: type[Function]) -> nn.Module:
        first = [nn.Conv1d(2, 3, 3, padding=1), nn.Tanh(), Applied(function, *shapes)]
        return nn.Sequential(*first, nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))

    return around


def rows(*shape: int, scale: float = 1.0) -> Tensor:
    """An input that is the same in every run."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(2))
