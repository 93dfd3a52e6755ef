"""Smooth gates: the input times a soft switch of itself (silu, mish, gelu) or of its other half (glu)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.sigmoid import log1p_exp, sigmoid, sigmoid_slope, tanh, tanh_slope


class SiLU(Rule, functions=[F.silu], cancels=True):
    """y = x s(x) with the logistic function s; also called swish.

    Derivation. Product rule: dy/dx = s(x) + x s'(x). Source: Elfwing et al., arXiv 1702.03118 (2017).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("both tails", torch.tensor([[-40.0, -1.3, 0.0], [0.2, 3.0, 40.0]]))
        yield case("in place", torch.tensor([-1.3, 0.2]), inplace=True)

    @staticmethod
    def forward(input: Tensor, inplace: bool = False) -> tuple[Tensor, Any]:
        return input * sigmoid(input), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * (sigmoid(cache) + cache * sigmoid_slope(cache))


class Mish(Rule, functions=[F.mish], cancels=True):
    """y = x tanh(p(x)) with p(x) = log(1 + exp(x)).

    Derivation. p' is the logistic function s, so dy/dx = tanh(p) + x tanh'(p) s(x).
    Source: Misra, arXiv 1908.08681 (2019).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("both tails", torch.tensor([[-40.0, -1.3, 0.0], [0.2, 3.0, 40.0]]))
        yield case("in place", torch.tensor([-1.3, 0.2]), inplace=True)

    @staticmethod
    def forward(input: Tensor, inplace: bool = False) -> tuple[Tensor, Any]:
        return input * tanh(log1p_exp(input)), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        p = log1p_exp(cache)
        return dy * (tanh(p) + cache * tanh_slope(p) * sigmoid(cache))


class GELU(Rule, functions=[F.gelu], cancels=True):
    """y = x P(x): P is the normal distribution function, or for approximate='tanh' (1 + tanh(v / 2)) / 2.

    Derivation. P(x) = (1 + erf(x / sqrt 2)) / 2 has the slope exp(-x^2 / 2) / sqrt(2 pi). The approximation
    is the logistic function s(v) of v = sqrt(8 / pi) (x + c x^3), c = 0.044715, with the slope
    s'(v) sqrt(8 / pi) (1 + 3 c x^2). Product rule: dy/dx = P + x P'.
    Source: Hendrycks and Gimpel, arXiv 1606.08415 (2016).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.tensor([[-7.0, -1.3, 0.0], [0.2, 3.0, 40.0]])
        yield case("both tails", x)
        yield case("tanh", x, approximate="tanh")

    @staticmethod
    def forward(input: Tensor, approximate: str = "none") -> tuple[Tensor, Any]:
        if approximate == "tanh":
            v = math.sqrt(8 / math.pi) * (input + 0.044715 * input**3)
            p = (1 + tanh(v / 2)) / 2
            slope = sigmoid_slope(v) * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * input**2)
        else:
            p = (1 + torch.erf(input / math.sqrt(2))) / 2  # 0 in the far left tail, as torch's
            slope = torch.exp(-(input**2) / 2) / math.sqrt(2 * math.pi)
        return input * p, p + input * slope

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


class GLU(Rule, functions=[F.glu], cancels=True):
    """y = a s(b), with x = [a, b] halved along `dim` and the logistic function s; x (..., 2N, ...), y (..., N, ...).

    Derivation. da = dy s(b), db = dy a s'(b), and dx = [da, db].
    Source: Dauphin et al., arXiv 1612.08083 (2016).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("last", torch.randn(3, 6))
        yield case("first", torch.randn(4, 3, 1), 0)
        yield case("middle", torch.randn(2, 6, 3), dim=-2)

    @staticmethod
    def forward(input: Tensor, dim: int = -1) -> tuple[Tensor, Any]:
        a, b = input.split(input.shape[dim] // 2, dim)  # (..., N, ...) each
        return a * sigmoid(b), (a, b, dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        a, b, dim = cache
        return torch.cat([dy * sigmoid(b), dy * a * sigmoid_slope(b)], dim)  # (..., 2N, ...)
