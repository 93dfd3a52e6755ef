"""The larger or smaller one: of two tensors, of a tensor and its bounds, of all elements along axes.

Where two are equal the derivative does not exist, and torch's conventions differ from function to
function; each rule names its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.arithmetic import to_operand
from bptrain.reference.rules.reduction import Axes, drop_axes, keep_axes, reduced_axes

Bound = Tensor | float | None

CLAMP = [torch.clamp, Tensor.clamp, torch.clamp_, Tensor.clamp_, torch.clip, Tensor.clip, torch.clip_, Tensor.clip_]


class Clamp(Rule, functions=CLAMP):
    """y = min(max(x, a), b), with bounds a = min and b = max that are numbers, tensors or absent.

    Derivation. dx = dy for a <= x <= b, else 0; a bound gets dy where it is the result. Convention at
    the kinks x = a and x = b: 1 for x and 0 for the bound (where hardtanh says 0 for x). Where a > b
    the result is b.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.tensor([[-2.0, -1.0, 0.5], [1.0, 3.0, -0.2]])
        yield case("kinks", x, -1.0, 1.0, smooth=False)
        yield case("below only", x, min=-1.0, smooth=False)
        yield case("above only", x, max=1.0, smooth=False)
        yield case("smooth", torch.tensor([-2.0, 0.3, 4.0]), -1, 1)
        yield case("tensors", x, torch.tensor([[-1.5], [-0.3]]), torch.tensor([0.2, 4.0, 0.4]))
        yield case("tensors crossed", torch.randn(3), torch.full((3,), 0.5), torch.tensor([0.1, 0.7, 0.2]))
        yield case("tensors tied", x, x.clone(), smooth=False)

    @staticmethod
    def kinks(input: Tensor, min: Bound = None, max: Bound = None) -> int:
        return sum(int((input == bound).sum()) for bound in (min, max) if bound is not None)

    @staticmethod
    def forward(input: Tensor, min: Bound = None, max: Bound = None) -> tuple[Tensor, Any]:
        y, below, above = input, torch.zeros_like(input, dtype=torch.bool), torch.zeros_like(input, dtype=torch.bool)
        if min is not None:
            below = input < min
            y = torch.where(below, min, y)
        if max is not None:
            above = y > max
            y = torch.where(above, max, y)
        return y, (input, min, max, below, above)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, min, max, below, above = cache
        dinput = to_operand(torch.where(below | above, 0, dy), input)
        return dinput, to_operand(torch.where(below & ~above, dy, 0), min), to_operand(torch.where(above, dy, 0), max)


class ClampMin(Rule, functions=[torch.clamp_min, Tensor.clamp_min, torch.clamp_min_, Tensor.clamp_min_]):
    """y = max(x, a): clamp from below, with its convention 1 at the kink x = a."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("kink", torch.tensor([-2.0, -1.0, 0.5]), -1.0, smooth=False)
        yield case("smooth", torch.tensor([-2.0, 0.5]), min=-1.0)

    @staticmethod
    def kinks(input: Tensor, min: Any) -> int:
        return int((input == min).sum())

    @staticmethod
    def forward(input: Tensor, min: Any) -> tuple[Tensor, Any]:
        return Clamp.forward(input, min)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return Clamp.backward(cache, dy)[:2]


class ClampMax(Rule, functions=[torch.clamp_max, Tensor.clamp_max, torch.clamp_max_, Tensor.clamp_max_]):
    """y = min(x, b): clamp from above, with its convention 1 at the kink x = b."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("kink", torch.tensor([-2.0, -1.0, 0.5]), -1.0, smooth=False)
        yield case("smooth", torch.tensor([-2.0, 0.5]), max=-1.0)

    @staticmethod
    def kinks(input: Tensor, max: Any) -> int:
        return int((input == max).sum())

    @staticmethod
    def forward(input: Tensor, max: Any) -> tuple[Tensor, Any]:
        return Clamp.forward(input, None, max)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dinput, _, dmax = Clamp.backward(cache, dy)
        return dinput, dmax


class Maximum(Rule, functions=[torch.maximum, Tensor.maximum]):
    """y = the larger of a and b, elementwise.

    Derivation. The larger one gets dy, the other 0. Convention at a tie a = b: half each.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case(
            "ties", torch.tensor([[-2.0, 1.0, 0.5], [3.0, 3.0, 0.1]]), torch.tensor([0.5, 1.0, 0.5]), smooth=False
        )
        yield case("broadcast", torch.randn(2, 1, 3), torch.randn(4, 1))

    @staticmethod
    def kinks(input: Tensor, other: Tensor) -> int:
        return int((input == other).sum())

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        larger = (input > other) | input.isnan()
        share = torch.where(input == other, 0.5, larger.to(input.dtype))
        return torch.where(larger, input, other), (input, other, share)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, other, share = cache
        return to_operand(dy * share, input), to_operand(dy * (1 - share), other)


class Minimum(Rule, functions=[torch.minimum, Tensor.minimum]):
    """y = the smaller of a and b, elementwise: -max(-a, -b), so half each at a tie."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return Maximum.cases()

    kinks = staticmethod(Maximum.kinks)

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        y, cache = Maximum.forward(-input, -other)
        return -y, cache

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return Maximum.backward(cache, dy)


class FMax(Rule, functions=[torch.fmax, Tensor.fmax]):
    """y = the larger of a and b, elementwise, the other one where one is NaN. Convention at a tie: all of dy to a."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield from Maximum.cases()
        nan = torch.nan
        yield case("NaN", torch.tensor([nan, 1.0, 0.5]), torch.tensor([0.5, nan, 0.7]), smooth=False)

    kinks = staticmethod(Maximum.kinks)

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        first = (input >= other) | other.isnan()
        return torch.where(first, input, other), (input, other, first)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, other, first = cache
        return to_operand(torch.where(first, dy, 0), input), to_operand(torch.where(first, 0, dy), other)


class FMin(Rule, functions=[torch.fmin, Tensor.fmin]):
    """y = the smaller of a and b, elementwise: -fmax(-a, -b), so all of dy to a at a tie."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return FMax.cases()

    kinks = staticmethod(Maximum.kinks)

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        y, cache = FMax.forward(-input, -other)
        return -y, cache

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return FMax.backward(cache, dy)


class AMax(Rule, functions=[torch.amax, Tensor.amax]):
    """y = the largest x along the axes `dim`.

    Derivation. The largest one gets dy, the others 0. Convention at a tie of m elements: dy / m each.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        ties = torch.tensor([[1.0, 3.0, 3.0], [2.0, 0.0, 3.0]])
        yield case("tie of three", ties, smooth=False)
        yield case("tie of two", ties, 1, smooth=False)
        yield case("two axes", torch.randn(2, 3, 4), dim=(0, -1))
        yield case("kept", torch.randn(2, 3), [0], keepdim=True)

    @staticmethod
    def kinks(input: Tensor, dim: Axes = (), keepdim: bool = False) -> int:
        axes = reduced_axes(input, dim)
        winners = (input == AMax.forward(input, dim, True)[0]).sum(axes)
        return int(winners[winners > 1].sum())

    @staticmethod
    def forward(input: Tensor, dim: Axes = (), keepdim: bool = False) -> tuple[Tensor, Any]:
        axes = reduced_axes(input, dim)
        y = input
        for axis in axes:
            y = y.gather(axis, y.argmax(axis, keepdim=True))  # (..., 1, ...)
        winners = (input == y).to(input.dtype)
        share = winners / winners.sum(axes, keepdim=True)
        return drop_axes(y, dim, keepdim), (input, dim, share)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        input, dim, share = cache
        return keep_axes(dy, input, dim) * share


class AMin(Rule, functions=[torch.amin, Tensor.amin]):
    """y = the smallest x along the axes `dim`: -amax(-x), so dy / m each at a tie of m elements."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return AMax.cases()

    @staticmethod
    def kinks(input: Tensor, dim: Axes = (), keepdim: bool = False) -> int:
        return AMax.kinks(-input, dim)

    @staticmethod
    def forward(input: Tensor, dim: Axes = (), keepdim: bool = False) -> tuple[Tensor, Any]:
        y, cache = AMax.forward(-input, dim, keepdim)
        return -y, cache

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return AMax.backward(cache, dy)
