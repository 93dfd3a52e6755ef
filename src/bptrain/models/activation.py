"""Activations: those of torch.nn under its snake-case names, with its arguments and their defaults.

Formulas and sources: https://pytorch.org/docs/stable/nn.html#non-linear-activations-weighted-sum-nonlinearity
`inplace` is left out: it changes no number, and the check needs the inputs of every call.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.errors import Problem, RequestError
from bptrain.models.layer import Layer

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Activation(Layer, group="model/activation"):
    """A function of a layer's values. A subclass bears the name of a class of torch.nn, its fields are the arguments.

    `widening` is how many values go in for one that comes out: the layer before is made that much wider.
    """

    widening: ClassVar[int] = 1

    def build(self) -> nn.Module:
        from torch import nn

        module: nn.Module = getattr(nn, type(self).__name__)(**dataclasses.asdict(self))
        return module

    def after(self, shape: tuple[int, ...]) -> nn.Module:
        if problem := self.problem(shape):
            raise ValueError(problem.what.removesuffix("."))
        return self.build()

    def problem(self, shape: tuple[int, ...]) -> Problem | None:
        """What forbids this activation after a layer that gives one example the shape (features or channels, ...)."""
        return None


@dataclass(frozen=True)
class Identity(Activation, name="identity"):
    """y = x: a linear layer."""


@dataclass(frozen=True)
class ELU(Activation, name="elu"):
    """x above 0, alpha (exp(x) - 1) below."""

    alpha: float = setting(1.0, "minus the limit at minus infinity", above=0)


@dataclass(frozen=True)
class Hardshrink(Activation, name="hardshrink"):
    """x, but 0 for |x| <= lambd."""

    lambd: float = setting(0.5, "half the width of the zone that becomes 0", minimum=0)


@dataclass(frozen=True)
class Hardsigmoid(Activation, name="hardsigmoid"):
    """x / 6 + 1/2, cut to [0, 1]."""


@dataclass(frozen=True)
class Hardtanh(Activation, name="hardtanh"):
    """x, cut to [min_val, max_val]."""

    min_val: float = setting(-1.0, "lowest value")
    max_val: float = setting(1.0, "highest value, above min_val")

    def __post_init__(self) -> None:
        if self.min_val >= self.max_val:
            what = f"must be above min_val, {self.min_val:g}, not {self.max_val:g}."
            raise RequestError(Problem("model.activation.max_val", what))


@dataclass(frozen=True)
class Hardswish(Activation, name="hardswish"):
    """x hardsigmoid(x)."""


@dataclass(frozen=True)
class LeakyReLU(Activation, name="leaky_relu"):
    """x above 0, negative_slope x below."""

    negative_slope: float = setting(0.01, "slope below 0", minimum=0)


@dataclass(frozen=True)
class LogSigmoid(Activation, name="log_sigmoid"):
    """log(1 / (1 + exp(-x)))."""


@dataclass(frozen=True)
class PReLU(Activation, name="prelu"):
    """x above 0, a x below, with a learned slope a."""

    num_parameters: int = setting(1, "learned slopes: 1, or one for each feature or channel", minimum=1)
    init: float = setting(0.25, "slope at the start")

    def problem(self, shape: tuple[int, ...]) -> Problem | None:
        if self.num_parameters in (1, shape[0]):
            return None
        what = f"must be 1 or the width of every layer, here {shape[0]}, not {self.num_parameters}."
        return Problem("model.activation.num_parameters", what)


@dataclass(frozen=True)
class ReLU(Activation, name="relu"):
    """max(x, 0)."""


@dataclass(frozen=True)
class ReLU6(Activation, name="relu6"):
    """x, cut to [0, 6]."""


@dataclass(frozen=True)
class RReLU(Activation, name="rrelu"):
    """x above 0, a x below: a is drawn anew for each value while training, else the mean of the two bounds."""

    lower: float = setting(1 / 8, "least slope", minimum=0)
    upper: float = setting(1 / 3, "greatest slope, at least lower", minimum=0)

    def __post_init__(self) -> None:
        if self.lower > self.upper:
            what = f"must be at least lower, {self.lower:g}, not {self.upper:g}."
            raise RequestError(Problem("model.activation.upper", what))


@dataclass(frozen=True)
class SELU(Activation, name="selu"):
    """scale (max(x, 0) + min(alpha (exp(x) - 1), 0)), which keeps mean 0 and variance 1."""


@dataclass(frozen=True)
class CELU(Activation, name="celu"):
    """max(x, 0) + min(alpha (exp(x / alpha) - 1), 0)."""

    alpha: float = setting(1.0, "minus the limit at minus infinity", above=0)


@dataclass(frozen=True)
class GELU(Activation, name="gelu"):
    """x times the normal distribution function of x."""

    approximate: Literal["none", "tanh"] = setting("none", "none is exact, tanh the approximation by tanh")


@dataclass(frozen=True)
class Sigmoid(Activation, name="sigmoid"):
    """1 / (1 + exp(-x))."""


@dataclass(frozen=True)
class SiLU(Activation, name="silu"):
    """x sigmoid(x)."""


@dataclass(frozen=True)
class Mish(Activation, name="mish"):
    """x tanh(softplus(x))."""


@dataclass(frozen=True)
class Softplus(Activation, name="softplus"):
    """log(1 + exp(beta x)) / beta."""

    beta: float = setting(1.0, "sharpness of the bend", above=0)
    threshold: float = setting(20.0, "linear where beta x is above this", minimum=0)


@dataclass(frozen=True)
class Softshrink(Activation, name="softshrink"):
    """x moved towards 0 by lambd, 0 for |x| <= lambd."""

    lambd: float = setting(0.5, "half the width of the zone that becomes 0", minimum=0)


@dataclass(frozen=True)
class Softsign(Activation, name="softsign"):
    """x / (1 + |x|)."""


@dataclass(frozen=True)
class Tanh(Activation, name="tanh"):
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""


@dataclass(frozen=True)
class Tanhshrink(Activation, name="tanhshrink"):
    """x - tanh(x)."""


@dataclass(frozen=True)
class Threshold(Activation, name="threshold"):
    """x above the threshold, else the value. torch has no defaults for the two; these make it ReLU."""

    threshold: float = setting(0.0, "x passes above this")
    value: float = setting(0.0, "result for all other x")


@dataclass(frozen=True)
class GLU(Activation, name="glu"):
    """a sigmoid(b), where a and b are the two halves of the features or channels."""

    widening: ClassVar[int] = 2

    def build(self) -> nn.Module:
        from torch import nn

        return nn.GLU(dim=1)


@dataclass(frozen=True)
class _Normalizing(Activation):
    """Along one axis of a batch (B, features or channels, ...), never along that of the batch itself."""

    dim: int = setting(1, "axis it acts along: 1 the features or channels, 2 and 3 the places", minimum=1, maximum=3)

    def problem(self, shape: tuple[int, ...]) -> Problem | None:
        if self.dim <= len(shape):
            return None
        return Problem("model.activation.dim", f"must be at most {len(shape)} for values of shape {shape}.")


@dataclass(frozen=True)
class Softmax(_Normalizing, name="softmax"):
    """exp(x) over its sum."""


@dataclass(frozen=True)
class Softmin(_Normalizing, name="softmin"):
    """exp(-x) over its sum."""


@dataclass(frozen=True)
class LogSoftmax(_Normalizing, name="log_softmax"):
    """x minus the logarithm of the sum of exp(x)."""


@dataclass(frozen=True)
class Softmax2d(Activation, name="softmax2d"):
    """Softmax over the channels at each place of an image."""

    def problem(self, shape: tuple[int, ...]) -> Problem | None:
        if len(shape) == 3:
            return None
        what = f"softmax2d acts on images (channels, height, width), not on values of shape {shape}."
        return Problem("model.activation", what, "model/activation=softmax fits.")
