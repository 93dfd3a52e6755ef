"""Kernels: covariances k(x, z) of the values of a function at two inputs, with positive hyperparameters.

Each learns the logarithms of its hyperparameters, so that no step makes one negative. Formulas: Rasmussen and Williams,
"Gaussian Processes for Machine Learning" (2006), chapter 4.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

# Added to squared distances by clamping, as the root has no derivative at 0; its root is below what a float resolves
# beside 1.
SMALLEST = 1e-30


class Kernel(nn.Module, abc.ABC):
    """(N, F) and (M, F) -> covariances (N, M)."""

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Without z, the covariances of the values at x among themselves, where noise has its variance."""
        return self.between(x, x if z is None else z)

    @abc.abstractmethod
    def between(self, x: Tensor, z: Tensor) -> Tensor:
        """The covariances of values at x with others, at z."""

    @abc.abstractmethod
    def variance_at(self, x: Tensor) -> Tensor:
        """The diagonal of forward(x), (N,)."""


def _log(values: float | Sequence[float]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values).log())


class Stationary(Kernel):
    """A function of the differences of inputs, 1 where they are equal. `length` is one, or one for each input."""

    def __init__(self, length: float | Sequence[float]) -> None:
        super().__init__()
        self.log_length = _log(length)

    def variance_at(self, x: Tensor) -> Tensor:
        return torch.ones_like(x[:, 0])

    def squared_distances(self, x: Tensor, z: Tensor) -> Tensor:
        """sum_f ((x_f - z_f) / length_f)^2."""
        return ((x[:, None] - z) / self.log_length.exp()).square().sum(-1)  # (N, M, F) -> (N, M)


class RBF(Stationary):
    """exp(-r^2 / 2), r the distance over the length."""

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.exp(-self.squared_distances(x, z) / 2)


class Matern(Stationary):
    """With s = sqrt(2 nu) r: exp(-s), (1 + s) exp(-s) and (1 + s + s^2 / 3) exp(-s) for nu = 1/2, 3/2 and 5/2."""

    def __init__(self, length: float | Sequence[float], nu: Literal["1/2", "3/2", "5/2"]) -> None:
        super().__init__(length)
        self.nu = nu

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        twice = int(self.nu[0])
        s = math.sqrt(twice) * self.squared_distances(x, z).clamp(min=SMALLEST).sqrt()
        decay = torch.exp(-s)
        if twice == 1:
            return decay
        return (1 + s if twice == 3 else 1 + s + s.square() / 3) * decay


class RationalQuadratic(Stationary):
    """(1 + r^2 / (2 alpha))^(-alpha): RBF kernels of many lengths added up."""

    def __init__(self, length: float | Sequence[float], alpha: float) -> None:
        super().__init__(length)
        self.log_alpha = _log(alpha)

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        alpha = self.log_alpha.exp()
        return torch.exp(-alpha * torch.log1p(self.squared_distances(x, z) / (2 * alpha)))


class Periodic(Stationary):
    """exp(-2 sum_f sin^2(pi (x_f - z_f) / period) / length^2) (MacKay 1998)."""

    def __init__(self, length: float | Sequence[float], period: float) -> None:
        super().__init__(length)
        self.log_period = _log(period)

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        waves = torch.sin(math.pi * (x[:, None] - z) / self.log_period.exp()) / self.log_length.exp()  # (N, M, F)
        return torch.exp(-2 * waves.square().sum(-1))  # (N, M)


class Linear(Kernel):
    """variance x . z: straight lines through 0, whose slopes have this variance."""

    def __init__(self, variance: float) -> None:
        super().__init__()
        self.log_variance = _log(variance)

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        return self.log_variance.exp() * (x @ z.T)

    def variance_at(self, x: Tensor) -> Tensor:
        return self.log_variance.exp() * x.square().sum(1)


class Constant(Kernel):
    """The variance itself: a shift of the whole function; in a product, the scale of the others."""

    def __init__(self, variance: float) -> None:
        super().__init__()
        self.log_variance = _log(variance)

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        return self.log_variance.exp().expand(len(x), len(z))

    def variance_at(self, x: Tensor) -> Tensor:
        return self.log_variance.exp().expand(len(x))


class White(Kernel):
    """Noise: the variance for a value with itself, 0 with any other, be it at the same input."""

    def __init__(self, variance: float) -> None:
        super().__init__()
        self.log_variance = _log(variance)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        if z is not None:
            return self.between(x, z)
        return self.log_variance.exp() * torch.eye(len(x), dtype=x.dtype, device=x.device)

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        return x.new_zeros(len(x), len(z))

    def variance_at(self, x: Tensor) -> Tensor:
        return self.log_variance.exp().expand(len(x))


class Combination(Kernel):
    """Kernels made one, element by element."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    @staticmethod
    @abc.abstractmethod
    def combined(values: Tensor, others: Tensor) -> Tensor:
        """Of two."""

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        first, *rest = (part(x, z) for part in self.parts)
        for other in rest:
            first = self.combined(first, other)
        return first

    def between(self, x: Tensor, z: Tensor) -> Tensor:
        return self(x, z)

    def variance_at(self, x: Tensor) -> Tensor:
        first, *rest = (part.variance_at(x) for part in self.parts)  # type: ignore[operator]
        for other in rest:
            first = self.combined(first, other)
        return first


class Sum(Combination):
    """Of independent functions that are added."""

    @staticmethod
    def combined(values: Tensor, others: Tensor) -> Tensor:
        return values + others


class Product(Combination):
    """Such as a periodic kernel and an RBF kernel: a period that fades."""

    @staticmethod
    def combined(values: Tensor, others: Tensor) -> Tensor:
        return values * others
