"""Kernels of a Gaussian process by name, to be added and multiplied: Rasmussen and Williams (2006), chapter 4.

A hyperparameter is where training starts from; `bptrain.modules.kernel` has the formulas.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bptrain.config.component import Component, setting
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from torch import nn


class Kernel(Component, abc.ABC, group="model/kernel"):
    """A covariance function."""

    @abc.abstractmethod
    def build(self, features: int) -> nn.Module:
        """The kernel for inputs of so many features. RequestError when the settings don't fit them."""


def _length() -> float | tuple[float, ...]:
    return setting(1.0, "distance over which the function changes, one, or one for each input", above=0)


def _fitting(length: float | tuple[float, ...], features: int) -> float | tuple[float, ...]:
    if isinstance(length, tuple) and len(length) != features:
        what = f"length has {len(length)} entries for {features} inputs."
        raise RequestError(Problem("model.kernel", what, "Write one for each, or a single number for all."))
    return length


@dataclass(frozen=True)
class RBF(Kernel, name="rbf"):
    """Smooth functions: exp(-r^2 / 2), r the distance over the length."""

    length: float | tuple[float, ...] = _length()

    def build(self, features: int) -> nn.Module:
        from bptrain.modules import kernel

        return kernel.RBF(_fitting(self.length, features))


@dataclass(frozen=True)
class Matern(Kernel, name="matern"):
    """Functions that have less than `nu` derivatives (Matern 1960)."""

    length: float | tuple[float, ...] = _length()
    nu: Literal["1/2", "3/2", "5/2"] = setting("3/2", "smoothness: 1/2, 3/2 or 5/2")

    def build(self, features: int) -> nn.Module:
        from bptrain.modules import kernel

        return kernel.Matern(_fitting(self.length, features), self.nu)


@dataclass(frozen=True)
class Periodic(Kernel, name="periodic"):
    """Functions that repeat (MacKay 1998)."""

    length: float | tuple[float, ...] = _length()
    period: float = setting(1.0, "distance after which the function repeats", above=0)

    def build(self, features: int) -> nn.Module:
        from bptrain.modules import kernel

        return kernel.Periodic(_fitting(self.length, features), self.period)


@dataclass(frozen=True)
class RationalQuadratic(Kernel, name="rational_quadratic"):
    """Smooth functions of many lengths at once: (1 + r^2 / (2 alpha))^(-alpha)."""

    length: float | tuple[float, ...] = _length()
    alpha: float = setting(1.0, "how alike the lengths are; RBF at infinity", above=0)

    def build(self, features: int) -> nn.Module:
        from bptrain.modules import kernel

        return kernel.RationalQuadratic(_fitting(self.length, features), self.alpha)


@dataclass(frozen=True)
class Variance(Kernel):
    """A kernel whose one hyperparameter is a variance."""

    variance: float = setting(1.0, "in units of the target, squared", above=0)

    def build(self, features: int) -> nn.Module:
        from bptrain.modules import kernel

        made: nn.Module = getattr(kernel, type(self).__name__)(self.variance)
        return made


@dataclass(frozen=True)
class Linear(Variance, name="linear"):
    """Straight lines: variance x . z."""


@dataclass(frozen=True)
class Constant(Variance, name="constant"):
    """A shift; in a product, the scale of the others."""


@dataclass(frozen=True)
class White(Variance, name="white"):
    """Noise, independent in each value."""


@dataclass(frozen=True)
class Combination(Kernel):
    """Kernels made one."""

    parts: tuple[Kernel, ...] = setting((), "the kernels")

    def __post_init__(self) -> None:
        if not self.parts:
            raise RequestError(Problem("model.kernel.parts", f"{self.name} of nothing.", "Write [{name: rbf}, ...]."))

    def build(self, features: int) -> nn.Module:
        from bptrain.modules import kernel

        made: nn.Module = getattr(kernel, type(self).__name__)([part.build(features) for part in self.parts])
        return made


@dataclass(frozen=True)
class Product(Combination, name="product"):
    """Kernels multiplied."""

    parts: tuple[Kernel, ...] = setting((Constant(), RBF()), "the kernels that are multiplied")


@dataclass(frozen=True)
class Sum(Combination, name="sum"):
    """Kernels added."""

    parts: tuple[Kernel, ...] = setting((Product(), White(0.1)), "the kernels that are added")
