"""Elementary functions of one tensor, element by element: y_i = f(x_i), so dx_i = dy_i f'(x_i)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.combination import Hypot
from bptrain.reference.rules.slope import spellings


class Neg(Rule, functions=spellings("neg", "negative"), complex=True):
    """y = -x. Derivation. dx = -dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.5, 0.0, 2.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return -input, None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return -dy


class Abs(Rule, functions=spellings("abs", "absolute"), complex=True):
    """y = |x|. Derivation. dx = dy sign(x), with sign(x) = x / |x| for complex x. Convention at the kink x = 0: 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("kink", torch.tensor([[-1.5, 0.0, 2.0]]), smooth=False)
        yield case("smooth", torch.tensor([-1.5, 2.0]))
        yield case("complex", torch.tensor([-1.5 + 0.3j, 2j]))
        yield case("complex zero", torch.tensor([0j, 2j]), smooth=False)

    @staticmethod
    def kinks(input: Tensor) -> int:
        return int((input == 0).sum())

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        if not input.is_complex():
            return torch.where(input < 0, -input, input), input.sign()
        parts = torch.view_as_real(input)  # (..., 2)
        y = Hypot.forward(parts[..., 0], parts[..., 1])[0]
        return y, torch.where(y == 0, 0, input / y)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


class Square(Rule, functions=[torch.square, Tensor.square, torch.square_, Tensor.square_]):
    """y = x^2. Derivation. dx = 2 x dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.5, 0.0, 2.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input * input, input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return 2 * cache * dy


class Sqrt(Rule, functions=[torch.sqrt, Tensor.sqrt, torch.sqrt_, Tensor.sqrt_]):
    """y = sqrt(x). Derivation. y^2 = x gives 2 y dy/dx = 1, so dx = dy / (2 y); infinite at x = 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("positive", torch.tensor([[0.5, 1.0, 40.0]]))
        yield case("zero", torch.tensor([0.0, 1.0]), smooth=False)

    kinks = staticmethod(Abs.kinks)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y = input.sqrt()
        return y, y

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy / (2 * cache)


class Rsqrt(Rule, functions=[torch.rsqrt, Tensor.rsqrt, torch.rsqrt_, Tensor.rsqrt_]):
    """y = 1 / sqrt(x). Derivation. y = x^(-1/2), so dx = -dy x^(-3/2) / 2 = -dy y^3 / 2."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("positive", torch.tensor([[0.5, 1.0, 40.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y = 1 / input.sqrt()
        return y, y

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return -dy * cache**3 / 2


class Reciprocal(Rule, functions=[torch.reciprocal, Tensor.reciprocal, torch.reciprocal_, Tensor.reciprocal_]):
    """y = 1 / x. Derivation. dx = -dy / x^2 = -dy y^2."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.5, 0.3, 2.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y = 1 / input
        return y, y

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return -dy * cache**2


class Exp(Rule, functions=[torch.exp, Tensor.exp, torch.exp_, Tensor.exp_], complex=True):
    """y = exp(x). Derivation. The function is its own slope: dx = dy y, dy conj(y) for complex x."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-30.0, 0.0, 2.0]]))
        yield case("complex", torch.tensor([0.3 + 2j, -1j]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y = input.exp()
        return y, y.conj()

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


class Expm1(Rule, functions=[torch.expm1, Tensor.expm1, torch.expm1_, Tensor.expm1_, torch.special.expm1]):
    """y = exp(x) - 1. Derivation. dx = dy exp(x)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-30.0, 1e-3, 2.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.expm1(), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache.exp()


class Log(Rule, functions=[torch.log, Tensor.log, torch.log_, Tensor.log_]):
    """y = log(x). Derivation. exp(y) = x gives exp(y) dy/dx = 1, so dx = dy / x."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("positive", torch.tensor([[0.5, 1.0, 40.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.log(), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy / cache


class Log1p(Rule, functions=[torch.log1p, Tensor.log1p, torch.log1p_, Tensor.log1p_, torch.special.log1p]):
    """y = log(1 + x). Derivation. dx = dy / (1 + x)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("around 0", torch.tensor([[-0.5, 1e-3, 40.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.log1p(), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy / (1 + cache)


class Sin(Rule, functions=[torch.sin, Tensor.sin, torch.sin_, Tensor.sin_]):
    """y = sin(x). Derivation. dx = dy cos(x)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.5, 0.0, 20.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.sin(), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache.cos()


class Cos(Rule, functions=[torch.cos, Tensor.cos, torch.cos_, Tensor.cos_]):
    """y = cos(x). Derivation. dx = -dy sin(x)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.5, 0.0, 20.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.cos(), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return -dy * cache.sin()


class Erf(Rule, functions=[torch.erf, Tensor.erf, torch.erf_, Tensor.erf_, torch.special.erf]):
    """y = 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x. Derivation. dx = dy 2 / sqrt(pi) exp(-x^2)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-3.0, 0.0, 0.7]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.erf(), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * (2 / math.sqrt(math.pi)) * torch.exp(-cache * cache)
