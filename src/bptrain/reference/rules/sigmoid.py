"""The logistic function and what is made of it: its logarithm, its integral, tanh; and the rational softsign.

    sigmoid(x) = 1 / (1 + exp(-x)),  tanh(x) = 2 sigmoid(2x) - 1,
    softplus(x) = log(1 + exp(x)),   logsigmoid(x) = log sigmoid(x) = -softplus(-x)

All are written with e = exp(-|x|) <= 1, so that nothing overflows and neither tail cancels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), without overflow."""
    e = torch.exp(-x.abs())
    return torch.where(x >= 0, 1.0, e) / (1 + e)


def tanh(x: Tensor) -> Tensor:
    """(1 - exp(-2x)) / (1 + exp(-2x)), without overflow and exact to rounding near 0."""
    m = torch.expm1(-2 * x.abs())
    return -x.sign() * m / (2 + m)


def sigmoid_slope(x: Tensor) -> Tensor:
    """sigmoid'(x) = sigmoid(x) (1 - sigmoid(x)) = e / (1 + e)^2 with e = exp(-|x|): even in x."""
    e = torch.exp(-x.abs())
    return e / (1 + e) ** 2


def tanh_slope(x: Tensor) -> Tensor:
    """tanh'(x) = 1 - tanh(x)^2 = 4 sigmoid'(2x)."""
    return 4 * sigmoid_slope(2 * x)


def log1p_exp(x: Tensor) -> Tensor:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), without overflow."""
    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))


LOGISTIC = [torch.sigmoid, Tensor.sigmoid, torch.sigmoid_, Tensor.sigmoid_, torch.special.expit]


class Sigmoid(Rule, functions=LOGISTIC, cancels=True):
    """y = 1 / (1 + exp(-x)), x and y (*).

    Derivation. dy/dx = exp(-x) / (1 + exp(-x))^2 = y (1 - y); see `sigmoid_slope` for the form used.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("both tails", torch.tensor([[-40.0, -1.3, 0.0], [0.2, 3.0, 40.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return sigmoid(input), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * sigmoid_slope(cache)


class LogSigmoid(Rule, functions=[F.logsigmoid], cancels=True):
    """y = log(1 / (1 + exp(-x))) = -log(1 + exp(-x)), x and y (*).

    Derivation. dy/dx = sigmoid'(x) / sigmoid(x) = 1 - sigmoid(x) = sigmoid(-x).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("both tails", torch.tensor([[-40.0, -1.3, 0.0], [0.2, 3.0, 40.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return -log1p_exp(-input), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * sigmoid(-cache)


class Tanh(Rule, functions=[torch.tanh, Tensor.tanh, torch.tanh_, Tensor.tanh_], cancels=True):
    """y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)), x and y (*).

    Derivation. dy/dx = 1 - y^2; see `tanh_slope` for the form used.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("both tails", torch.tensor([[-20.0, -1.3, 0.0], [0.2, 1e-4, 20.0]]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return tanh(input), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * tanh_slope(cache)


class Softplus(Rule, functions=[F.softplus], cancels=True):
    """y = log(1 + exp(b x)) / b, and x itself where b x > threshold.

    Derivation. dy/dx = sigmoid(b x), and 1 beyond the threshold. Convention at the jump b x = threshold:
    sigmoid(b x).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("both tails", torch.tensor([[-40.0, -1.3, 0.0], [0.2, 3.0, 40.0]]))
        yield case("beta", torch.tensor([-1.3, 0.0, 0.4]), 2.5)
        yield case("jump", torch.tensor([0.7, 0.8, 0.75]), beta=2.0, threshold=1.5, smooth=False)

    @staticmethod
    def kinks(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> int:
        return int((beta * input == threshold).sum())

    @staticmethod
    def forward(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> tuple[Tensor, Any]:
        scaled = beta * input
        linear = scaled > threshold
        return torch.where(linear, input, log1p_exp(scaled) / beta), (scaled, linear)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        scaled, linear = cache
        return dy * torch.where(linear, 1, sigmoid(scaled))


class Softsign(Rule, functions=[F.softsign], cancels=True):
    """y = x / (1 + |x|).

    Derivation. Quotient rule, with d|x|/dx = sign(x): dy/dx = (1 + |x| - x sign(x)) / (1 + |x|)^2
    = 1 / (1 + |x|)^2, which has no kink.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("smooth", torch.tensor([[-4.0, -1.3, 0.1], [0.2, 3.0, 40.0]]))
        yield case("zero", torch.tensor([0.0, 1.0]), smooth=False)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        scale = 1 + input.abs()
        return input / scale, scale

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy / cache**2
