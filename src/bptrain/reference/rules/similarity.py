"""Vectors of length one, and the cosine of the angle between vectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.norm import norm_kinks, vector_norm, vector_norm_gradient
from bptrain.reference.rules.reduction import Axes, drop_axes, keep_axes


class Normalize(Rule, functions=[F.normalize]):
    """y = x / max(n, eps) with n the p-norm of x along the axes `dim`.

    Derivation. With m = max(n, eps), dx = dy / m + dm dn/dx where dm = -sum dy x / m^2, and 0 where n < eps.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.randn(2, 4, 3)
        yield case("Euclidean", x)
        for p in (1.0, 3.0, 1.5, torch.inf):
            yield case(f"order {p}", x, p, -1)
        yield case("two axes", x, dim=(0, 2))
        yield case("some shorter than eps", x, eps=1.8)
        yield case("zeros", torch.zeros(2, 3), smooth=False)

    @staticmethod
    def kinks(input: Tensor, p: float = 2.0, dim: Axes = 1, eps: float = 1e-12, out: None = None) -> int:
        n = vector_norm(input, float(p), dim, True)[0]
        return int((norm_kinks(input, float(p), dim) * (n > eps)).sum() + (n == eps).sum())

    @staticmethod
    def forward(
        input: Tensor, p: float = 2.0, dim: Axes = 1, eps: float = 1e-12, out: None = None
    ) -> tuple[Tensor, Any]:
        n, cache = vector_norm(input, float(p), dim, True)
        m = n.clamp_min(eps)
        return input / m, (input, dim, m, n >= eps, cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        x, dim, m, long, cache = cache
        dm = -(dy * x).sum(dim, keepdim=True) / m.square()
        dn = torch.where(long, dm, 0)
        return dy / m + vector_norm_gradient(cache, dn)


def _lengths(a: Tensor, b: Tensor, dim: int) -> list[Tensor]:
    """|a| and |b| along the axis `dim`, kept as one of size 1, after a and b are broadcast."""
    return [t.square().sum(dim, keepdim=True).sqrt() for t in torch.broadcast_tensors(a, b)]


class CosineSimilarity(Rule, functions=[F.cosine_similarity], cancels=True):
    """y = sum_k a_k b_k / (|a| |b|) along the axis `dim`, after a and b are broadcast; a norm below eps counts as eps.

    Derivation. With ahat = a / |a| and bhat alike, dy/da = (bhat - y ahat) / |a| and dy/db = (ahat - y bhat) / |b|.
    Contract: where |a| < eps torch puts eps for |a| and still takes d|a|/da = a / |a| for its slope, 0 for a = 0.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        a, b = torch.randn(2, 4, 3), torch.randn(4, 1)
        yield case("axis 1", a, torch.randn(2, 4, 3))
        yield case("broadcast", a, b, -1)
        yield case("vectors", a[0, 0], a[0, 1], dim=0)
        yield case("some shorter than eps", a, torch.randn(2, 4, 3), 2, 1.5, smooth=False)
        yield case("zeros", torch.zeros(2, 3), torch.randn(2, 3), smooth=False)

    @staticmethod
    def contract(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> str:
        short = any(bool(((n > 0) & (n < eps)).any()) for n in _lengths(x1, x2, dim))
        return "a norm below eps counts as eps and keeps its own slope" if short else ""

    @staticmethod
    def kinks(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> int:
        return sum(int((n == eps).sum()) for n in _lengths(x1, x2, dim))

    @staticmethod
    def forward(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> tuple[Tensor, Any]:
        a, b = torch.broadcast_tensors(x1, x2)
        lengths = _lengths(a, b, dim)
        hats = [t / n.clamp_min(eps) for t, n in zip((a, b), lengths, strict=True)]
        y = (hats[0] * hats[1]).sum(dim, keepdim=True)
        return drop_axes(y, dim, False), (x1.shape, x2.shape, dim, eps, lengths, hats, y)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        shape1, shape2, dim, eps, lengths, hats, y = cache
        dy = keep_axes(dy, hats[0], dim)
        gradients = []
        for own, other, n in ((hats[0], hats[1], lengths[0]), (hats[1], hats[0], lengths[1])):
            m = n.clamp_min(eps)
            unit = torch.where(n == 0, 0, own * m / n)  # a / |a|
            gradients.append(dy * (other - y * unit) / m)
        return sum_to(gradients[0], shape1), sum_to(gradients[1], shape2)
