"""Padding: a frame around a tensor, of one value or of elements of the tensor itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


def source(n: int, before: int, after: int, mode: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each place along a padded axis the place in 0 ... n - 1 that it shows, and whether it shows one at all."""
    i = torch.arange(-before, n + after, device=device)  # negative in front of the axis
    inside = (i >= 0) & (i < n)
    if mode == "reflect":  # ... 2 1 | 0 1 2 ... n-1 | n-2 n-3 ...
        return n - 1 - (n - 1 - i.abs()).abs(), inside | ~inside
    if mode == "circular":
        first = max(-before, 0)  # what is cut off at one end does not come round at the other
        return first + (i - first) % (n - first - max(-after, 0)), inside | ~inside
    return i.clamp(0, n - 1), inside if mode == "constant" else inside | ~inside


class Pad(Rule, functions=[F.pad]):
    """y = x framed; `pad` = (before, after) of the last axis, then of the axis before it, and so on.

    The frame has the value 0 or `value` (mode 'constant'), the nearest element ('replicate'), or those of x
    mirrored at its edge ('reflect') or going round ('circular'). Negative numbers cut off.
    Derivation. y_j = x_{s(j)} or constant, so dx_i is the sum of the dy_j with s(j) = i.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("one axis", torch.randn(2, 3), (1, 2))
        yield case("two axes, value", torch.randn(2, 3), [1, 0, 0, 2], "constant", 0.7)
        yield case("cut off", torch.randn(2, 4), (-1, 2), value=-1.5)
        yield case("reflect", torch.randn(1, 2, 4), (3, 2), mode="reflect")
        yield case("reflect, two axes", torch.randn(1, 2, 3, 4), (1, 2, 2, 0), mode="reflect")
        yield case("replicate", torch.randn(1, 2, 3, 2), (1, 4, 2, 0), mode="replicate")
        yield case("circular", torch.randn(1, 2, 3), (3, 2), mode="circular")
        yield case("circular, cut off", torch.randn(1, 2, 5, 4), (2, -1, -2, 1), mode="circular")

    @staticmethod
    def forward(
        input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
    ) -> tuple[Tensor, Any]:
        places = torch.arange(input.numel(), device=input.device).reshape(input.shape)
        shown = torch.ones_like(places, dtype=torch.bool)
        for k in range(len(pad) // 2):
            axis = input.dim() - 1 - k
            index, inside = source(input.shape[axis], pad[2 * k], pad[2 * k + 1], mode, input.device)
            places, shown = places.index_select(axis, index), shown.index_select(axis, index)
            shown = shown & inside.reshape(-1, *[1] * k)  # (..., K, 1, ...)
        y = torch.where(shown, input.reshape(-1)[places], 0 if value is None else value)
        return y, (input.shape, places, shown)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        shape, places, shown = cache
        dx = dy.new_zeros(shape.numel())
        return dx.index_add(0, places.reshape(-1), torch.where(shown, dy, 0).reshape(-1)).reshape(shape)


class ConstantPad(Rule, functions=[torch.constant_pad_nd]):
    """torch's own padding with one value, below torch.nn.functional: as `Pad`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("value", torch.randn(2, 3), (1, 0, 0, 2), 0.7)
        yield case("zeros", torch.randn(2, 3), [1, -1])

    @staticmethod
    def forward(input: Tensor, pad: Sequence[int], value: float = 0) -> tuple[Tensor, Any]:
        return Pad.forward(input, pad, "constant", value)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return Pad.backward(cache, dy)
