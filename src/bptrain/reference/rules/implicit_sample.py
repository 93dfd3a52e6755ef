"""Draws from the gamma and the Dirichlet distribution, which have a gradient by implicit reparametrization.

With the distribution function F(y, a) and the density p = dF/dy, a draw y moves with a such that F stays what it is:
    dy/da = -(dF/da) / p
That is no derivative of the algorithm that draws but a contract; on average both give the gradient of the loss.
Source: Figurnov, Mohamed and Mnih, Implicit reparameterization gradients (2018).

Derivation. For a density proportional to t^(a-1) h(t), d log p / da = log t - m with the mean m of log t. So
    dy/da = integral from 0 to y of (t / y)^(a-1) h(t) / h(y) (m - log t) dt
and, as over all t it is 0, the integral from y on of the same with log t - m. One of them cancels little.
    gamma      h = exp(-t), m = psi(a):  t = y e^-s below and y e^s above
    Dirichlet  y_i is of the beta distribution, h = (1 - t)^(b-1) and m = psi(a) - psi(a + b), b the sum of the other a:
               t = y e^-s below and 1 - t = (1 - y) e^-s above. With D = (dy_i/da_i) / (1 - y_i) the others shrink as
               1 - y_i does: dy_j/da_i = D_i (delta_ij - y_j), Jankowiak and Obermeyer (2018).
The integrals over s > 0 are sums over s = c exp(pi/2 sinh u) at equal steps of u (Takahasi and Mori 1974).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.gamma_function import polygamma

STEP, STEPS = 0.05, 80
CONTRACT = "the gradient is that of the distribution function at the draw (implicit reparametrization)"


def _integral(f: Callable[[Tensor], Tensor], scale: Tensor) -> Tensor:
    """The integral of f from 0 on, whose argument is of the size of `scale`."""
    total = torch.zeros_like(scale)
    for k in range(-STEPS, STEPS + 1):
        u = STEP * k
        s = scale * math.exp(math.pi / 2 * math.sinh(u))
        total = total + f(s) * s * (math.pi / 2 * math.cosh(u) * STEP)
    return total


def gamma_slope(y: Tensor, a: Tensor) -> Tensor:
    """dy/da of draws y > 0 from the gamma distribution of shape a and rate 1."""
    m = polygamma(0, a)
    side = torch.where(y < a, -1, 1)  # the side on which (t / y)^a h(t) / h(y) falls

    def f(s: Tensor) -> Tensor:
        return (side * a * s - y * (side * s).expm1()).exp() * (side * (y.log() - m) + s)

    return y * _integral(f, 1 / ((a - y).abs() + torch.where(y < a, torch.minimum(a, a.sqrt()), y.sqrt())))


def dirichlet_slope(y: Tensor, a: Tensor) -> Tensor:
    """D of draws y (..., N) from the Dirichlet distribution of a (..., N)."""
    b = a.sum(-1, keepdim=True) - a
    m = polygamma(0, a) - polygamma(0, a + b)
    below = y.log() < m
    near, far = torch.where(below, y, 1 - y), torch.where(below, 1 - y, y)  # below, t falls from y to 0, else 1 - t
    here, there = torch.where(below, a, b), torch.where(below, b, a)

    def f(s: Tensor) -> Tensor:
        grown = torch.log1p(-(-s).expm1() * near / far)  # log of (1 - t) / (1 - y) below, of t / y above
        excess = torch.where(below, m - y.log() + s, y.log() + grown - m)
        return (-here * s + (there - 1) * grown).exp() * excess

    return near * _integral(f, 1 / here) / (1 - y)


class StandardGamma(Rule, functions=[torch._standard_gamma], random=True, inexact=2e-3):
    """y = a draw from the gamma distribution of shape a and rate 1, as torch.distributions.Gamma.rsample makes it.

    torch's kernel takes dy/da from approximations of three digits (`standard_gamma_grad_one`).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("shapes", torch.tensor([[0.3, 1.5, 4.0], [9.0, 30.0, 200.0]]), smooth=False)

    @staticmethod
    def contract(*args: Any, **kwargs: Any) -> str:
        return CONTRACT

    @staticmethod
    def forward(input: Tensor, *, again: Callable) -> tuple[Tensor, Any]:
        y = again(input)
        return y, gamma_slope(y, input)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


class SampleDirichlet(Rule, functions=[torch._sample_dirichlet], random=True, inexact=2e-3):
    """y (..., N) = a draw from the Dirichlet distribution of a (..., N), as torch.distributions draws it, Beta's too.

    torch's kernel takes D from approximations of three digits (`dirichlet_grad_one`).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        drawn = torch.distributions.dirichlet._Dirichlet  # which has the gradient of _sample_dirichlet
        yield case("three", torch.tensor([[0.7, 1.5, 4.0], [9.0, 30.0, 20.0]]), function=drawn, smooth=False)

    @staticmethod
    def contract(*args: Any, **kwargs: Any) -> str:
        return CONTRACT

    @staticmethod
    def forward(input: Tensor, *, again: Callable) -> tuple[Tensor, Any]:
        y = again(input, function=torch._sample_dirichlet)
        return y, (y, dirichlet_slope(y, input))

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        y, slope = cache
        return slope * (dy - (y * dy).sum(-1, keepdim=True))
