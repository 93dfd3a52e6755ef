"""The gamma function's logarithm, alone and of several arguments, its derivatives and the Hurwitz zeta function.

Derivation. ln Gamma(x + 1) = ln Gamma(x) + ln x (DLMF 5.5.1) leads any x > 0 to one of at least 10, for which
Stirling's series holds to rounding (DLMF 5.11.1; Abramowitz and Stegun 6.1.41), B the Bernoulli numbers:
    ln Gamma(z) = (z - 1/2) ln z - z + ln(2 pi) / 2 + sum over k >= 1 of B_2k / (2k (2k - 1) z^(2k-1))
Differentiated, they give digamma psi(x) = psi(x + 1) - 1 / x and
    psi(z) = ln z - 1 / (2 z) - sum over k >= 1 of B_2k / (2k z^2k)
and the higher derivatives are sums, psi^(n)(x) = (-1)^(n+1) n! zeta(n + 1, x) (DLMF 25.11.12). An x < 0 is reflected,
Gamma(x) Gamma(1 - x) = pi / sin(pi x) (DLMF 5.5.3), whose logarithm differentiated n + 1 times gives, c = cot(pi x),
    psi^(n)(x) = (-1)^n psi^(n)(1 - x) - pi^(n+1) P_n(c),   P_0 = c,   P_(n+1) = -(1 + c^2) dP_n/dc
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.arithmetic import Operand, to_operand
from bptrain.reference.rules.slope import Sloped, spellings

# B_2, B_4, ...: for arguments of 10 and more the next one would be below the rounding of float64.
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)
LARGE = 10


def _cot_and_sin(x: Tensor) -> tuple[Tensor, Tensor]:
    """cot and sin of pi x but for the sign of the latter, exact where x is near a whole number."""
    turn = math.pi * (x - x.round())
    return turn.cos() / turn.sin(), turn.sin()


def log_gamma(x: Tensor) -> Tensor:
    """ln |Gamma(x)|; near its zeros 1 and 2 with an absolute error of some roundings of 1."""
    z, product = torch.where(x < 0, 1 - x, x), torch.ones_like(x)
    for _ in range(LARGE):
        small = z < LARGE
        z, product = torch.where(small, z + 1, z), torch.where(small, product * z, product)
    y = (z - 0.5) * (z.log() - 1) + (math.log(2 * math.pi) - 1) / 2 - product.log()
    for k, b in enumerate(BERNOULLI, 1):
        y = y + b / (2 * k * (2 * k - 1)) * z ** (1 - 2 * k)
    return torch.where(x < 0, math.log(math.pi) - _cot_and_sin(x)[1].abs().log() - y, y)


def polygamma(n: int, x: Tensor) -> Tensor:
    """psi^(n)(x), the derivative n + 1 of ln Gamma(x); NaN at the poles below 0."""
    positive = torch.where(x < 0, 1 - x, x)
    sign = 1 - 2 * (n % 2)
    y = _digamma(positive) if n == 0 else -sign * math.prod(map(float, range(1, n + 1))) * hurwitz_zeta(n + 1, positive)
    polynomial = [0.0, 1.0]  # the coefficients of P_n, none of another sign than others
    for _ in range(n):
        slope = [k * a for k, a in enumerate(polynomial)][1:]
        polynomial = [-a - b for a, b in zip([*slope, 0.0, 0.0], [0.0, 0.0, *slope], strict=True)]
    cot, reflected = _cot_and_sin(x)[0], torch.zeros_like(x)
    for a in reversed(polynomial):
        reflected = reflected * cot + a
    reflected = sign * y - math.pi ** (n + 1) * reflected
    return torch.where(x < 0, torch.where(x == x.floor(), math.nan, reflected), y)


def _digamma(x: Tensor) -> Tensor:
    """psi(x) for x >= 0."""
    z, y = x, torch.zeros_like(x)
    for _ in range(LARGE):
        small = z < LARGE
        z, y = torch.where(small, z + 1, z), torch.where(small, y - 1 / z, y)
    y = y + z.log() - 0.5 / z
    for k, b in enumerate(BERNOULLI, 1):
        y = y - b / (2 * k) * z ** (-2 * k)
    return y


def hurwitz_zeta(s: Operand, q: Tensor) -> Tensor:
    """zeta(s, q) = sum over k >= 0 of (q + k)^-s, infinite for s = 1 and at the poles q = 0, -1, ..., NaN for s < 1.

    The sum is the terms up to a z >= 10 + s and the rest by Euler and Maclaurin (DLMF 25.11.5, 2.10.1):
        z^(1-s) / (s - 1) + z^-s / 2 + sum over k >= 1 of B_2k / (2k)! s (s + 1) ... (s + 2k - 2) z^(1-s-2k)
    """
    s = torch.as_tensor(s, dtype=q.dtype, device=q.device)
    z, y = q.expand((s + q).shape), torch.zeros_like(s + q)
    missing = torch.where(q.isfinite() & s.isfinite(), LARGE + s - q, 0).reshape(-1)
    for _ in range(math.ceil(max(missing.tolist(), default=0))):
        small = z < LARGE + s
        z, y = torch.where(small, z + 1, z), torch.where(small, y + z**-s, y)
    y = y + z ** (1 - s) / (s - 1) + 0.5 * z**-s
    rising = s  # s (s + 1) ... (s + 2k - 2)
    for k, b in enumerate(BERNOULLI, 1):
        y = y + b / math.factorial(2 * k) * rising * z ** (1 - s - 2 * k)
        rising = rising * (s + 2 * k - 1) * (s + 2 * k)
    y = torch.where((s == 1) | ((q <= 0) & (q == q.floor())), math.inf, y)
    return torch.where(s < 1, math.nan, y)


class LogGamma(Sloped, functions=spellings("lgamma", "gammaln")):
    """y = ln |Gamma(x)|. Derivation. dy/dx = psi(x), by definition."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("positive", torch.tensor([[0.1, 0.3, 1.0], [1.5, 9.99, 200.0]]))
        yield case("negative", torch.tensor([-0.2, -1.5, -20.3]))
        yield case("pole", torch.tensor([0.0, 1.0]), smooth=False)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return log_gamma(input), polygamma(0, input)


# torch's psi' is cut off where its own series is off by up to 5e-10, and below 0 it takes sin(pi x) of a rounded pi x.
class Digamma(Sloped, functions=spellings("digamma", "psi"), inexact=1e-9, shifts=True):
    """y = psi(x), the slope of ln Gamma(x). Derivation. dy/dx = psi'(x)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("positive", torch.tensor([[0.1, 0.3, 1.0], [1.5, 9.99, 200.0]]))
        yield case("negative", torch.tensor([-0.2, -1.4, -20.3]))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return polygamma(0, input), polygamma(1, input)


class Polygamma(Rule, functions=spellings("polygamma"), inexact=Digamma.inexact, shifts=True):
    """y = psi^(n)(x). Derivation. dy/dx = psi^(n+1)(x). The method of a tensor has n behind it."""

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.tensor([[0.1, 0.7, 1.5], [3.0, 9.99, 40.0]])
        for n in (0, 2, 3):
            yield case(f"order {n}", n, x, function=torch.polygamma)
        yield case("order 1", 1, x + 20, function=torch.polygamma)
        yield case("order 12", 12, x, function=torch.special.polygamma)
        yield case("negative", 1, torch.tensor([-0.2, -1.5, -20.3]), function=torch.polygamma)
        yield case("negative, second", 2, torch.tensor([-0.2, -1.4, -7.3]), function=torch.polygamma)
        yield case("method", x, 2, function=Tensor.polygamma)
        yield case("method, by name", x, n=0, function=Tensor.polygamma)
        yield case("in place", x, 0, function=Tensor.polygamma_)

    @staticmethod
    def arranged(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        if not args or isinstance(args[0], int):
            return args, kwargs
        return args[1:], {"input": args[0], **kwargs}

    @staticmethod
    def forward(n: int, input: Tensor) -> tuple[Tensor, Any]:
        return polygamma(n, input), polygamma(n + 1, input)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return None, dy * cache


class MultivariateLogGamma(Sloped, functions=spellings("mvlgamma", "multigammaln")):
    """y = ln Gamma_p(x) = p (p - 1) / 4 ln pi + sum over j < p of ln Gamma(x - j / 2), DLMF 35.3.4.

    Derivation. dy/dx is the sum of the psi(x - j / 2).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.tensor([[1.1, 2.5, 30.0]])
        yield case("three", x, 3)
        yield case("one", x, p=1)

    @staticmethod
    def forward(input: Tensor, p: int) -> tuple[Tensor, Any]:
        each = input[..., None] - torch.arange(p, device=input.device) / 2  # (..., p)
        return p * (p - 1) / 4 * math.log(math.pi) + log_gamma(each).sum(-1), polygamma(0, each).sum(-1)


class Zeta(Rule, functions=[torch.special.zeta]):
    """y = zeta(s, q), the sum over k >= 0 of (q + k)^-s.

    Derivation. Term by term dq = -s dy zeta(s + 1, q). torch has no gradient for s.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        q = torch.tensor([[0.1, 0.7, 1.5], [3.0, 9.99, 40.0]])
        yield case("tensors", torch.tensor([1.1, 2.0, 17.5]), q, constant=("input",))
        yield case("number", 3.5, q)
        yield case("negative", 2.0, torch.tensor([-0.2, -1.5, -20.3]))
        yield case("few s", torch.tensor([2.5]), q, constant=("input",))

    @staticmethod
    def forward(input: Operand, other: Operand) -> tuple[Tensor, Any]:
        like: Any = other if isinstance(other, Tensor) else input
        q = torch.as_tensor(other, dtype=like.dtype, device=like.device)
        return hurwitz_zeta(input, q), (input, other, q)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        s, other, q = cache
        return None, to_operand(-dy * s * hurwitz_zeta(s + 1, q), other)
