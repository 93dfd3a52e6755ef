"""Logarithms and powers of other bases than e, logits, and logarithms with a factor or of a sum."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.arithmetic import to_operand
from bptrain.reference.rules.slope import Sloped, spellings


class Log2(Sloped, functions=spellings("log2")):
    """y = log(x) / log(2). Derivation. dy/dx = 1 / (x log(2))."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("positive", torch.tensor([[0.5, 1.0, 40.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.log() / math.log(2), 1 / (input * math.log(2))


class Log10(Sloped, functions=spellings("log10")):
    """y = log(x) / log(10). Derivation. dy/dx = 1 / (x log(10))."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("positive", torch.tensor([[0.5, 1.0, 40.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.log() / math.log(10), 1 / (input * math.log(10))


class Exp2(Sloped, functions=spellings("exp2")):
    """y = 2^x. Derivation. y = exp(x log(2)), so dy/dx = y log(2)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-3.0, 0.0, 0.7]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y = torch.pow(2, input)
        return y, y * math.log(2)


class Logit(Sloped, functions=spellings("logit")):
    """y = log(x / (1 - x)), with x first clamped to [eps, 1 - eps] where there is an `eps`.

    Derivation. dy/dx = 1 / x + 1 / (1 - x) = 1 / (x (1 - x)). Beyond eps the slope is 0, at eps itself it is not;
    without eps it is NaN beyond 0 and 1.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("inside", torch.tensor([[0.1, 0.5, 0.99]]))
        yield case("eps", torch.tensor([[-0.2, 0.1, 0.95]]), 0.1, smooth=False, function=torch.special.logit)
        yield case("eps by name", torch.tensor([0.02, 0.3]), eps=0.1, function=torch.logit)

    @staticmethod
    def kinks(input: Tensor, eps: float | None = None) -> int:
        return int(((input == eps) | (input == 1 - eps)).sum()) if eps is not None else 0

    @staticmethod
    def forward(input: Tensor, eps: float | None = None) -> tuple[Tensor, Any]:
        low, high = (0.0, 1.0) if eps is None else (eps, 1 - eps)
        beyond = (input < low) | (input > high)
        x = input if eps is None else input.clamp(low, high)
        slope = 1 / (x * (1 - x))
        return torch.log(x / (1 - x)), torch.where(beyond, math.nan if eps is None else 0.0, slope)


class LogAddExp(Rule, functions=[torch.logaddexp, Tensor.logaddexp]):
    """y = log(exp(a) + exp(b)). The larger one is taken out: max + log(1 + exp(-|a - b|)).

    Derivation. dy/da = exp(a) / (exp(a) + exp(b)) = 1 / (1 + exp(b - a)), and so for b.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("large", torch.tensor([[800.0, -2.0, 0.3]]), torch.tensor([[799.0, -800.0, 0.7]]))
        yield case("broadcast", torch.randn(2, 3), torch.randn(2, 1))

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        y = torch.maximum(input, other) + torch.log1p(torch.exp(-(input - other).abs()))
        return y, (input, other)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        a, b = cache
        return to_operand(dy / (1 + (b - a).exp()), a), to_operand(dy / (1 + (a - b).exp()), b)


class LogAddExp2(Rule, functions=[torch.logaddexp2, Tensor.logaddexp2]):
    """y = log2(2^a + 2^b): logaddexp of a log(2) and b log(2), over log(2), so that the slopes keep their form."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return LogAddExp.cases()

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        y, cache = LogAddExp.forward(input * math.log(2), other * math.log(2))
        return y / math.log(2), cache

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return LogAddExp.backward(cache, dy)


class XLogY(Rule, functions=spellings("xlogy")):
    """y = a log(b), and 0 where a = 0 whatever b is.

    Derivation. da = dy log(b) and db = dy a / b. Convention where a = 0 and b <= 0: da = 0.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.5, 0.3, 2.0]]), torch.tensor([[0.5, 1.7, 40.0]]))
        yield case("broadcast", torch.randn(2, 3), torch.tensor([0.5, 1.7, 40.0]), function=torch.xlogy)
        yield case("number right", torch.randn(2, 3), 1.7, function=torch.xlogy)
        yield case("number left", 1.7, torch.tensor([0.5, 2.0]), function=torch.special.xlogy)
        yield case("zeros", torch.zeros(2), torch.tensor([-0.5, 2.0]), smooth=False, function=torch.special.xlogy)

    @staticmethod
    def kinks(input: Any, other: Any) -> int:
        return int(((torch.as_tensor(input) == 0) & (torch.as_tensor(other) <= 0)).sum())

    @staticmethod
    def forward(input: Any, other: Any) -> tuple[Tensor, Any]:
        like = input if isinstance(input, Tensor) else other
        a, b = (torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in (input, other))
        return torch.where(a == 0, 0, a * b.log()), (input, other, a, b)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, other, a, b = cache
        slope = torch.where((a == 0) & (b <= 0), 0, b.log())
        return to_operand(dy * slope, input), to_operand(dy * a / b, other)


class XLog1PY(Rule, functions=spellings("xlog1py")):
    """y = a log(1 + b), and 0 where a = 0. Derivation. As for xlogy with 1 + b."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signs", torch.tensor([[-1.5, 0.3, 2.0]]), torch.tensor([-0.5, 0.7, 40.0]))
        yield case("number right", torch.randn(2, 3), 1.7)
        yield case("number left", 1.7, torch.tensor([-0.5, 2.0]))
        yield case("zeros", torch.zeros(2), torch.tensor([-1.5, 2.0]), smooth=False)

    @staticmethod
    def kinks(input: Any, other: Any) -> int:
        return int(((torch.as_tensor(input) == 0) & (torch.as_tensor(other) <= -1)).sum())

    @staticmethod
    def forward(input: Any, other: Any) -> tuple[Tensor, Any]:
        like = input if isinstance(input, Tensor) else other
        a, b = (torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in (input, other))
        return torch.where(a == 0, 0, a * b.log1p()), (input, other, a, b)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, other, a, b = cache
        slope = torch.where((a == 0) & (b <= -1), 0, b.log1p())
        return to_operand(dy * slope, input), to_operand(dy * a / (1 + b), other)


class Entr(Sloped, functions=spellings("entr")):
    """y = -x log(x), 0 at 0 and minus infinity below. Derivation. dy/dx = -log(x) - 1, infinite at 0, NaN below."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("positive", torch.tensor([[0.1, 0.5, 40.0]]))
        yield case("zero", torch.tensor([0.0, 1.0]), smooth=False)

    @staticmethod
    def kinks(input: Tensor) -> int:
        return int((input == 0).sum())

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        y = torch.where(input == 0, 0, -input * input.log())
        return torch.where(input < 0, -math.inf, y), -input.log() - 1
