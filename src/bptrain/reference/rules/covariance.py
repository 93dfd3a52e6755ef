"""Covariances and correlations of the rows of a matrix, x (V, N): N observations of V variables.

    c_ij = sum_n w_n r_in conj(r_jn) / k,   r_in = x_in - m_i,   m_i = sum_n w_n x_in / S,   S = sum_n w_n
with the weights w = f a, `fweights` times `aweights`, and k = S - correction sum_n w_n a_n / S, not below 0.

Derivation. With G the gradient of c, r gets w_n (G + G^H) r / k. The means add nothing: x_in would get back the part
w_n / S of the sum over n, which is 0 since sum_n w_n r_n = 0; for the same reason c does not change with m. An a_n
counts in w_n = f_n a_n, which gets Re r_n^H G r_n / k, and in k, which gets -Re <G, c> / k.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.complex_number import real


class Cov(Rule, functions=[torch.cov, Tensor.cov], complex=True):
    """y = c (V, V), the variance of one variable x (N) a scalar."""

    @staticmethod
    def cases() -> Iterable[Case]:
        counts, weights = torch.tensor([1, 2, 1, 3, 1]), torch.rand(5) + 0.1
        yield case("matrix", torch.randn(3, 5))
        yield case("one variable", torch.randn(5), correction=0)
        yield case("weights", torch.randn(3, 5), correction=2, fweights=counts, aweights=weights)
        yield case("counts", torch.randn(2, 5), fweights=counts)
        yield case("complex", torch.randn(3, 5, dtype=torch.complex64), aweights=weights)

    @staticmethod
    def forward(
        input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        x = input.reshape(-1, input.shape[-1]) if input.dim() else input.reshape(1, 1)  # (V, N)
        one = torch.ones_like(real(x[0]))
        f, a = one if fweights is None else fweights.to(one.dtype), one if aweights is None else aweights
        w = f * a
        total = w.sum()
        excess = correction * (w * a).sum() / total
        k = (total - excess).clamp_min(0)
        r = x - (x * w).sum(1, keepdim=True) / total
        c = (r * w) @ r.conj().transpose(0, 1) / k
        return c.squeeze(), (input.shape, r, c, f, a, k, correction, aweights is None)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        shape, r, c, f, a, k, correction, unweighted = cache
        g, w = dy.reshape(c.shape), f * a
        dx = (g + g.conj().transpose(0, 1)) @ (r * w) / k
        if unweighted:
            return (dx.reshape(shape),)
        dw, dk, total = real((r.conj() * (g @ r)).sum(0)) / k, -real((g.conj() * c).sum()) / k, w.sum()
        da = f * (dw + dk * (1 + correction * (w * a).sum() / total**2)) - 2 * dk * correction * w / total
        return dx.reshape(shape), None, None, da


class CorrCoef(Rule, functions=[torch.corrcoef, Tensor.corrcoef], complex=True):
    """y_ij = c_ij / (s_i s_j) with the deviations s_i = sqrt(c_ii), so that y_ii = 1, whatever x.

    Derivation. With G the gradient of y, c_ij gets G_ij / (s_i s_j), and c_ii through s_i one part more,
    -sum_j Re(conj(G_ij) y_ij + conj(G_ji) y_ji) / (2 c_ii). Then as for the covariance. The parts of G_ii cancel.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(3, 5))
        yield case("complex", torch.randn(3, 5, dtype=torch.complex64))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        if input.dim() < 2 or len(input) == 1:
            raise TypeError("the correlation of a variable with itself is 1 and its gradient all rounding")
        c, cache = Cov.forward(input)
        s = real(c.diagonal()).sqrt()
        y = c / (s[:, None] * s)
        return y, (cache, s, y)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        cache, s, y = cache
        shared = real(dy.conj() * y)
        own = -(shared.sum(0) + shared.sum(1)) / (2 * s * s)
        diagonal = torch.eye(len(s), dtype=s.dtype, device=s.device) * own
        return Cov.backward(cache, dy / (s[:, None] * s) + diagonal)
