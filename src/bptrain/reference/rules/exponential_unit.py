"""Exponential linear units: a line to the right of 0, a saturating exponential to the left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case

# The fixed point of mean 0 and variance 1 of Klambauer et al., equation 14.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


class ELU(Rule, functions=[F.elu, F.elu_]):
    """y = x for x > 0, else a (exp(x) - 1).

    Derivation. dy/dx = 1 for x > 0, else a exp(x). With a = 1 there is no kink; otherwise the
    convention at x = 0 is a. Source: Clevert et al., arXiv 1511.07289 (2015).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("both tails", torch.tensor([[-50.0, -1.3, -1e-3], [0.2, 3.0, 800.0]]))
        yield case("alpha", torch.tensor([-1.3, 0.2, -0.4]), 0.7)
        yield case("kink", torch.tensor([-1.3, 0.0, 2.0]), alpha=0.7, smooth=False)
        yield case("in place", torch.tensor([-1.3, 0.2]), inplace=True)

    @staticmethod
    def kinks(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> int:
        return int((input == 0).sum()) if alpha != 1 else 0

    @staticmethod
    def forward(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> tuple[Tensor, Any]:
        left = input.clamp(max=0)  # of the branch that counts, so that exp can't overflow
        y = torch.where(input > 0, input, alpha * torch.expm1(left))
        return y, torch.where(input > 0, 1, alpha * torch.exp(left))

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


class SELU(Rule, functions=[F.selu, torch.selu, torch.selu_]):
    """y = s elu(x) with a = 1.6733 and the scale s = 1.0507.

    Derivation. As for elu: dy/dx = s for x > 0, else s a exp(x). Convention at the kink x = 0: s a.
    Source: Klambauer et al., arXiv 1706.02515 (2017).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("both tails", torch.tensor([[-50.0, -1.3, -0.1], [0.2, 3.0, 800.0]]))
        yield case("kink", torch.tensor([-1.3, 0.0, 2.0]), smooth=False)
        yield case("in place", torch.tensor([-1.3, 0.2]), inplace=True)

    @staticmethod
    def kinks(input: Tensor, inplace: bool = False) -> int:
        return int((input == 0).sum())

    @staticmethod
    def forward(input: Tensor, inplace: bool = False) -> tuple[Tensor, Any]:
        y, slope = ELU.forward(input, SELU_ALPHA)
        return SELU_SCALE * y, SELU_SCALE * slope

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


class CELU(Rule, functions=[F.celu, torch.celu, torch.celu_], inexact=1e-7):
    """y = x for x > 0, else a (exp(x / a) - 1): the elu whose slope has no jump for any a.

    Derivation. dy/dx = 1 for x > 0, else exp(x / a), which is 1 at x = 0 too.
    torch 2.13 keeps its 1/a in float32, so that its float64 gradient is off by up to 1e-7.
    Source: Barron, arXiv 1704.07483 (2017).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("both tails", torch.tensor([[-50.0, -1.3, -1e-3], [0.2, 3.0, 800.0]]))
        yield case("alpha", torch.tensor([-1.3, 0.2, -0.4]), 0.7)
        yield case("join", torch.tensor([-1.3, 0.0, 2.0]), alpha=0.7, smooth=False)
        yield case("in place", torch.tensor([-1.3, 0.2]), inplace=True)

    @staticmethod
    def forward(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> tuple[Tensor, Any]:
        left = input.clamp(max=0) / alpha  # of the branch that counts, so that exp can't overflow
        return torch.where(input > 0, input, alpha * torch.expm1(left)), torch.exp(left)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache
