"""Fake quantization: numbers rounded to the levels of an integer type, and kept as real numbers.

    q = clamp(round(x / s) + z, l, h),   y = (q - z) s

with the scale s, the zero point z and the range l to h of the integers. Of two levels that are equally near round takes
the even one. torch computes in float32, with 1 / s rounded, in any dtype; so does the rule.

Contract, straight through: y is a step function, whose derivative is 0; its gradient is dx = dy where round(x / s) + z
lies in the range, as if nothing were rounded there, and 0 beyond, where the derivative is 0 too.
Source: Bengio, Leonard and Courville, arXiv 1308.3432 (2013); Jacob et al., CVPR 2018, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, case
from bptrain.reference.rules.slope import Sloped

X = torch.tensor([[-9.0, -1.3, 0.0, 0.3], [0.45, 0.7, 2.9, 9.0]])


def quantized(x: Tensor, scale: Any, zero_point: Any, low: int, high: int) -> tuple[Tensor, Tensor]:
    """y, and whether each element is in the range; scale and zero point are numbers or scalars."""
    s, z = (torch.as_tensor(t, device=x.device).to(torch.float32) for t in (scale, zero_point))
    q = (x.to(torch.float32) * (1 / s)).round() + z
    y = (q.clamp(low, high) - z) * s
    return y.to(x.dtype), (q >= low) & (q <= high)


class FakeQuantize(Sloped, functions=[torch.fake_quantize_per_tensor_affine]):
    """y with one scale and one zero point for all of x. Derivation. See the top of this file."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("numbers", X, 0.1, 3, -8, 7, smooth=False)
        scale, zero_point = torch.tensor(0.3), torch.tensor(-1, dtype=torch.int32)
        yield case("tensors", X, scale, zero_point, 0, 15, constant=("scale",), smooth=False)

    @staticmethod
    def contract(input: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> str:
        inside = quantized(input, scale, zero_point, quant_min, quant_max)[1]
        return "straight through: rounding counts as the identity inside the range" if inside.any() else ""

    @staticmethod
    def forward(input: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> tuple[Tensor, Any]:
        return quantized(input, scale, zero_point, quant_min, quant_max)
