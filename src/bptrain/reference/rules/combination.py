"""Combinations of two or three tensors, element by element: mixtures, sums of products, lengths, powers in float64."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.arithmetic import Operand, Pow, to_operand
from bptrain.reference.rules.slope import Sloped, spellings


class Lerp(Rule, functions=[torch.lerp, Tensor.lerp, Tensor.lerp_]):
    """y = a + w (b - a), w a tensor or a number. Derivation. da = (1 - w) dy, db = w dy, dw = (b - a) dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("number", torch.randn(2, 3), torch.randn(2, 3), 0.3)
        yield case("tensor", torch.randn(2, 3), torch.randn(3), torch.rand(2, 1))
        yield case("beyond", torch.randn(2, 1), torch.randn(3), weight=1.7, function=torch.lerp)

    @staticmethod
    def forward(input: Tensor, end: Tensor, weight: Operand) -> tuple[Tensor, Any]:
        return input + weight * (end - input), (input, end, weight)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        a, b, w = cache
        return to_operand((1 - w) * dy, a), to_operand(w * dy, b), to_operand((b - a) * dy, w)


class AddCMul(Rule, functions=[torch.addcmul, Tensor.addcmul, Tensor.addcmul_]):
    """y = x + v a b, with a number v. Derivation. dx = dy, da = v b dy, db = v a dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast", torch.randn(2, 3), torch.randn(2, 1), torch.randn(3), value=0.7)
        yield case("one", torch.randn(3), torch.randn(2, 1), torch.randn(2, 3), function=torch.addcmul)

    @staticmethod
    def forward(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> tuple[Tensor, Any]:
        return input + value * tensor1 * tensor2, (input, tensor1, tensor2, value)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, v = cache
        return to_operand(dy, x), to_operand(v * b * dy, a), to_operand(v * a * dy, b)


class AddCDiv(Rule, functions=[torch.addcdiv, Tensor.addcdiv, Tensor.addcdiv_]):
    """y = x + v a / b, with a number v. Derivation. dx = dy, da = v dy / b, db = -v dy a / b^2."""

    @staticmethod
    def cases() -> Iterable[Case]:
        below = torch.tensor([0.7, -1.5, 2.0])
        yield case("broadcast", torch.randn(2, 3), torch.randn(2, 1), below, value=0.7)
        yield case("one", torch.randn(3), torch.randn(2, 1), below, function=torch.addcdiv)

    @staticmethod
    def forward(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> tuple[Tensor, Any]:
        return input + value * tensor1 / tensor2, (input, tensor1, tensor2, value)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, v = cache
        return to_operand(dy, x), to_operand(v * dy / b, a), to_operand(-v * dy * (a / b) / b, b)


class Hypot(Rule, functions=[torch.hypot, Tensor.hypot, Tensor.hypot_]):
    """y = sqrt(a^2 + b^2). Derivation. y dy = a da + b db, so da = dy a / y and db = dy b / y; NaN at the origin.

    The larger one is taken out of the root, so that its square can't overflow.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast", torch.randn(2, 3), torch.randn(3))
        yield case("large", torch.tensor([1e200, -3.0], dtype=torch.float64), torch.tensor([1.0, 0.0]), smooth=False)

    @staticmethod
    def kinks(input: Tensor, other: Tensor) -> int:
        return int(((input == 0) & (other == 0)).sum())

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        size = torch.maximum(input.abs(), other.abs())
        large = torch.where((size == 0) | size.isinf(), 1, size)
        return large * ((input / large).square() + (other / large).square()).sqrt(), (input, other)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        a, b = cache
        y = Hypot.forward(a, b)[0]
        return to_operand(dy * (a / y), a), to_operand(dy * (b / y), b)


class CopySign(Rule, functions=[torch.copysign, Tensor.copysign, Tensor.copysign_]):
    """y = |a| with the sign of b, that of -0.0 too. Derivation. da = dy sign(a) sign(b), 0 where a = 0; db = 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.7, 0.3], [2.6, -3.3]]), torch.tensor([0.7, -0.4]))
        yield case("number", torch.tensor([-1.7, 2.6]), -1)
        yield case("zeros", torch.tensor([0.0, 1.5, -2.0]), torch.tensor([-1.0, -0.0, 0.0]), smooth=False)

    @staticmethod
    def kinks(input: Tensor, other: Operand) -> int:
        return int((input == 0).sum())

    @staticmethod
    def forward(input: Tensor, other: Operand) -> tuple[Tensor, Any]:
        b = torch.as_tensor(other, dtype=input.dtype, device=input.device)
        sign = torch.where((b < 0) | ((b == 0) & (1 / b < 0)), -1, 1)
        return input.abs() * sign, (input, other, sign)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, other, sign = cache
        return to_operand(dy * input.sign() * sign, input), to_operand(torch.zeros_like(dy), other)


class FloatPower(Rule, functions=[torch.float_power, Tensor.float_power, Tensor.float_power_]):
    """y = a^p in float64. Derivation. As for pow, in the dtype of each."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("tensor", torch.tensor([[0.5, 1.7, 2.0]]), torch.tensor([2.0, -0.5, 0.3]))
        yield case("number", torch.tensor([-1.5, 0.3]), 3)
        yield case("number left", 2.5, torch.tensor([-1.5, 0.3]), function=torch.float_power)

    kinks = staticmethod(Pow.kinks)

    @staticmethod
    def forward(input: Any, exponent: Any) -> tuple[Tensor, Any]:
        return Pow.forward(input, exponent)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return Pow.backward(cache, dy)


class LDExp(Rule, functions=[torch.ldexp, Tensor.ldexp, Tensor.ldexp_]):
    """y = a 2^b. Derivation. da = dy 2^b and db = dy y log(2).

    torch (2.13) rounds 2^b to a whole number in the gradient where b is one of integers, so that it is 0 for b < 0, and
    differences say so.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("tensors", torch.randn(2, 3), torch.randn(3))
        yield case("integers", torch.randn(3), torch.tensor([1, 0, 5]))

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        power = torch.pow(2.0, other)
        return input * power, (input, other, power)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, other, power = cache
        return to_operand(dy * power, input), to_operand(dy * input * power * math.log(2), other)


class NanToNum(Sloped, functions=spellings("nan_to_num")):
    """y = x with numbers for NaN, infinity and minus infinity. Derivation. dx = dy where x is finite, else 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.tensor([[0.5, math.nan, -2.0], [math.inf, 1.5, -math.inf]])
        yield case("numbers", x, 1.0, 2.0, -3.0, smooth=False)
        yield case("by name", x, nan=0.5, posinf=3.0, neginf=-1.0, smooth=False, function=torch.nan_to_num)
        yield case(
            "largest", torch.tensor([0.5, math.nan, math.inf, -math.inf]), smooth=False, function=torch.nan_to_num
        )

    @staticmethod
    def forward(
        input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
    ) -> tuple[Tensor, Any]:
        largest = torch.finfo(input.dtype).max
        y = torch.where(input.isnan(), 0.0 if nan is None else nan, input)
        y = torch.where(y == math.inf, largest if posinf is None else posinf, y)
        y = torch.where(y == -math.inf, -largest if neginf is None else neginf, y)
        return y, input.isfinite()
