"""Sums, differences, products, quotients and powers of two operands, tensors that broadcast or numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.dtype import is_continuous
from bptrain.reference.rule import Case, Rule, case, sum_to

Operand = Tensor | float


def to_operand(gradient: Tensor, operand: Any) -> Tensor | None:
    """The gradient of a result as that of one operand: summed where it was broadcast, the real part for a real one.

    None for a constant.
    """
    if not isinstance(operand, Tensor) or not is_continuous(operand):
        return None
    summed = sum_to(gradient, operand.shape)
    return summed.real if summed.is_complex() and not operand.is_complex() else summed


def conj(operand: Any) -> Any:
    """The conjugate of a tensor or a number, which is a real one itself."""
    return operand.conj() if isinstance(operand, Tensor) else operand.conjugate()


ADD = [torch.add, Tensor.add, Tensor.add_]
SUB = [torch.sub, Tensor.sub, Tensor.sub_, torch.subtract, Tensor.subtract, Tensor.subtract_]
RSUB = [torch.rsub, Tensor.__rsub__]
MUL = [torch.mul, Tensor.mul, Tensor.mul_, torch.multiply, Tensor.multiply, Tensor.multiply_]
DIV = [
    *[torch.div, Tensor.div, Tensor.div_, torch.divide, Tensor.divide, Tensor.divide_],
    *[torch.true_divide, Tensor.true_divide, Tensor.true_divide_],
]
POW = [torch.pow, Tensor.pow, Tensor.pow_, Tensor.__pow__, Tensor.__ipow__]


class Add(Rule, functions=ADD, complex=True):
    """y = a + alpha b.

    Derivation. da = dy and db = alpha dy, each summed over the axes along which it was broadcast.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast right", torch.randn(2, 3), torch.randn(3))
        yield case("broadcast both", torch.randn(2, 1, 3), torch.randn(4, 1))
        yield case("number right", torch.randn(2, 3), 0.7)
        yield case("number left", 0.7, torch.randn(2, 3))
        yield case("alpha", torch.randn(3), torch.randn(2, 3), alpha=-0.3)
        yield case("complex and real", torch.randn(2, 3, dtype=torch.complex64), torch.randn(3))
        yield case("integers", torch.randn(3), torch.tensor([1, 2, 5]))

    @staticmethod
    def forward(input: Operand, other: Operand, *, alpha: float = 1) -> tuple[Any, Any]:
        return input + alpha * other, (input, other, alpha)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, other, alpha = cache
        return to_operand(dy, input), to_operand(alpha * dy, other)


class Sub(Rule, functions=SUB, complex=True):
    """y = a - alpha b.

    Derivation. da = dy and db = -alpha dy.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast right", torch.randn(2, 3), torch.randn(3))
        yield case("number right", torch.randn(2, 3), 0.7)
        yield case("alpha", torch.randn(3), torch.randn(2, 3), alpha=-0.3)

    @staticmethod
    def forward(input: Operand, other: Operand, *, alpha: float = 1) -> tuple[Any, Any]:
        return Add.forward(input, other, alpha=-alpha)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return Add.backward(cache, dy)


class ReversedSub(Rule, functions=RSUB, complex=True):
    """y = b - alpha a: subtraction with the operands swapped, as in `1 - x`.

    Derivation. da = -alpha dy and db = dy.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("number", torch.randn(2, 3), 1)
        yield case("broadcast", torch.randn(2, 3), torch.randn(3), alpha=2)

    @staticmethod
    def forward(input: Tensor, other: Operand, *, alpha: float = 1) -> tuple[Any, Any]:
        return Sub.forward(other, input, alpha=alpha)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dother, dinput = Sub.backward(cache, dy)
        return dinput, dother


class Mul(Rule, functions=MUL, complex=True):
    """y = a b, elementwise.

    Derivation. da = dy b and db = dy a; for complex tensors dy conj(b) and dy conj(a).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast right", torch.randn(2, 3), torch.randn(3))
        yield case("broadcast both", torch.randn(2, 1, 3), torch.randn(4, 1))
        yield case("number right", torch.randn(2, 3), 0.7)
        yield case("number left", 0.7, torch.randn(2, 3))
        yield case("mask", torch.randn(3), torch.tensor([True, False, True]))
        yield case("complex", torch.randn(2, 3, dtype=torch.complex64), torch.randn(3, dtype=torch.complex64))
        yield case("complex and real", torch.randn(2, 3, dtype=torch.complex64), torch.randn(3))
        yield case("complex number", torch.randn(2, 3), 1.5j)

    @staticmethod
    def forward(input: Operand, other: Operand) -> tuple[Any, Any]:
        return input * other, (input, other)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, other = cache
        return to_operand(dy * conj(other), input), to_operand(dy * conj(input), other)


class Div(Rule, functions=DIV, complex=True):
    """y = a / b, elementwise; rounded to an integer where `rounding_mode` is 'floor' or 'trunc'.

    Derivation. da = dy / b and db = -dy a / b^2, with conjugates of the factors for complex tensors. A rounded
    quotient is a step function: its gradient is 0, at its jumps too by convention.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast right", torch.randn(2, 3), torch.tensor([0.7, -1.5, 2.0]))
        yield case("number right", torch.randn(2, 3), 0.7)
        yield case("number left", 0.7, torch.tensor([0.7, -1.5]))
        yield case("no rounding", torch.randn(3), torch.tensor([[0.7], [-1.5]]), rounding_mode=None, function=torch.div)
        yield case("complex", torch.randn(2, 3, dtype=torch.complex64), torch.tensor([0.7 - 1j, 2j, 1.5]))
        a, b = torch.tensor([7.0, -7.0, 4.0]), torch.tensor([2.0, 2.0, -1.0])
        whole = torch.tensor([1.0, -1.0])
        yield case("nearly whole", whole, 0.1, rounding_mode="floor", smooth=False, function=torch.div)
        yield case("floor", a, b, rounding_mode="floor", smooth=False, function=torch.div)
        yield case("trunc", a, b, rounding_mode="trunc", smooth=False, function=Tensor.div)

    @staticmethod
    def forward(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> tuple[Any, Any]:
        y = torch.as_tensor(input / other)
        if rounding_mode is not None:
            # The exact quotient just below a whole number may round up to it; the remainder tells.
            y = ((input - torch.remainder(torch.as_tensor(input), other)) / other).round()
        if rounding_mode == "trunc":
            y = torch.where((y < 0) & (y * other != input), y + 1, y)
        return y, (input, other, rounding_mode)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, other, rounding_mode = cache
        if rounding_mode is not None:
            dy = torch.zeros_like(dy)
        return to_operand(dy / conj(other), input), to_operand(-dy * conj(input / other) / conj(other), other)


class ReversedDiv(Rule, functions=[Tensor.__rtruediv__]):
    """y = b / a: division with the operands swapped, as in `1 / x`.

    Derivation. da = -dy b / a^2 and db = dy / a.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("number", torch.tensor([0.7, -1.5, 2.0]), 3)
        yield case("tensor", torch.tensor([0.7, -1.5, 2.0]), torch.randn(2, 1))

    @staticmethod
    def forward(input: Tensor, other: Operand) -> tuple[Any, Any]:
        return Div.forward(other, input)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return Div.backward(cache, dy)[::-1]


class Pow(Rule, functions=POW):
    """y = a^p, elementwise.

    Derivation. da = dy p a^(p - 1) and dp = dy y log(a). Conventions: da = 0 where p = 0, and dp = 0 where
    a = 0 and p >= 0, though the formulas may have infinite factors there.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        positive = torch.tensor([[0.5, 1.7, 2.0], [0.1, 3.0, 1.0]])
        yield case("broadcast", positive, torch.tensor([2.0, -0.5, 0.3]))
        yield case("integer", torch.tensor([-1.5, 0.3, 2.0]), 3)
        yield case("square at zero", torch.tensor([-1.5, 0.0]), 2)
        yield case("negative exponent", torch.tensor([-1.5, 0.3]), -1)
        yield case("root", torch.tensor([1.5, 0.3]), exponent=0.5)
        yield case("number left", 2.5, torch.tensor([-1.5, 0.3]), function=torch.pow)
        yield case("zero exponent", torch.tensor([-1.5, 0.0]), 0, smooth=False)
        yield case("zeros", torch.tensor([0.0, 0.0, 0.4]), torch.tensor([0.0, 2.0, 0.0]), smooth=False)

    @staticmethod
    def kinks(input: Any, exponent: Any) -> int:
        a, p = torch.as_tensor(input), torch.as_tensor(exponent)
        jump = (p == 0) & isinstance(exponent, Tensor)  # 0^p is 1 at p = 0 alone
        return int(((a == 0) & (((p > 0) & (p < 1)) | jump)).sum())

    @staticmethod
    def forward(input: Any, exponent: Any) -> tuple[Tensor, Any]:
        y = torch.pow(input, exponent)
        return y, (input, exponent, y)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        a, p, y = cache
        dinput = dexponent = None
        if isinstance(a, Tensor):
            slope = p * torch.pow(a, p - 1)
            dinput = to_operand(dy * torch.where(torch.as_tensor(p, device=dy.device) == 0, 0, slope), a)
        if isinstance(p, Tensor):
            base = torch.as_tensor(a, dtype=dy.dtype, device=dy.device)
            dexponent = to_operand(dy * torch.where((base == 0) & (p >= 0), 0, y * torch.log(base)), p)
        return dinput, dexponent


class ReversedPow(Rule, functions=[Tensor.__rpow__]):
    """y = b^p: a power with the operands swapped, as in `2 ** x`.

    Derivation. As for `Pow`.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("number", torch.tensor([0.7, -1.5, 2.0]), 3)
        yield case("tensor", torch.tensor([0.7, -1.5, 2.0]), torch.rand(2, 1) + 0.1)
        yield case("zero", torch.tensor([0.7, 2.0]), 0, smooth=False)

    @staticmethod
    def kinks(input: Tensor, other: Operand) -> int:
        return Pow.kinks(other, input)

    @staticmethod
    def forward(input: Tensor, other: Operand) -> tuple[Any, Any]:
        return Pow.forward(other, input)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return Pow.backward(cache, dy)[::-1]
