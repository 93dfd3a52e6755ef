"""The slices of a tensor scaled by their norms: weight normalization and renorm, slices along one axis `dim`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.norm import norm_kinks, vector_norm, vector_norm_gradient


def _others(x: Tensor, dim: int) -> tuple[int, ...]:
    """All axes but `dim`."""
    return tuple(axis for axis in range(x.dim()) if axis != dim % x.dim())


class NormExceptDim(Rule, functions=[torch.norm_except_dim]):
    """y = the p-norm of each slice of v, kept as axes of size 1; for dim = -1 that of all elements."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("rows", torch.randn(2, 3, 4))
        yield case("columns", torch.randn(2, 3), 3, 1)
        yield case("all", torch.randn(2, 3), dim=-1)

    @staticmethod
    def kinks(v: Tensor, pow: int = 2, dim: int = 0) -> int:
        return int(norm_kinks(v, float(pow), None if dim == -1 else _others(v, dim)).sum())

    @staticmethod
    def forward(v: Tensor, pow: int = 2, dim: int = 0) -> tuple[Tensor, Any]:
        return vector_norm(v, float(pow), None if dim == -1 else _others(v, dim), dim != -1)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return vector_norm_gradient(cache, dy)


class WeightNorm(Rule, functions=[torch._weight_norm]):
    """w = g u, with u = v / |v| and |v| the Euclidean norm of each slice of v, of the whole v for dim = -1.

    Derivation. dg = <u, dw> for each slice, and dv = g (dw - u <u, dw>) / |v|, since u keeps its length.
    Source: Salimans and Kingma 2016, equation 3.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("rows", torch.randn(4, 3), torch.randn(4, 1))
        yield case("columns", torch.randn(4, 3, 2), torch.randn(1, 3, 1), 1)
        yield case("all", torch.randn(4, 3), torch.randn(()), dim=-1)

    @staticmethod
    def kinks(v: Tensor, g: Tensor, dim: int = 0) -> int:
        return NormExceptDim.kinks(v, 2, dim)

    @staticmethod
    def forward(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Any]:
        length, _ = NormExceptDim.forward(v, 2, dim)
        u = v / length
        return g * u, (g, u, length)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        g, u, length = cache
        dg = sum_to(u * dy, g.shape)
        return g * (dy - u * dg) / length, dg


class Renorm(Rule, functions=[torch.renorm, Tensor.renorm, Tensor.renorm_]):
    """y = x, with each slice longer than `maxnorm` in the p-norm scaled to it: y = c x, c = maxnorm / (|x| + 1e-7).

    Derivation. dx = c dy + <x, dy> dc/d|x| d|x|/dx with dc/d|x| = -c / (|x| + 1e-7); dx = dy for the others.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.tensor([[3.0, -4.0, 0.1], [0.3, 0.4, -0.2]])
        for p in (1, 2, 3):
            yield case(f"order {p}", x, p, 0, 1.5)
        yield case("columns", x, 2.0, dim=-1, maxnorm=0.7)

    @staticmethod
    def kinks(input: Tensor, p: float, dim: int, maxnorm: float) -> int:
        return int((vector_norm(input, float(p), _others(input, dim), True)[0] == maxnorm).sum())

    @staticmethod
    def forward(input: Tensor, p: float, dim: int, maxnorm: float) -> tuple[Tensor, Any]:
        length, cache = vector_norm(input, float(p), _others(input, dim), True)
        scale = maxnorm / (length + 1e-7)
        y = torch.where(length > maxnorm, scale * input, input)
        return y, (input, dim, length > maxnorm, scale, -scale / (length + 1e-7), cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        x, dim, long, scale, slope, cache = cache
        dlength = (x * dy).sum(_others(x, dim), keepdim=True) * slope
        return torch.where(long, scale * dy + vector_norm_gradient(cache, dlength), dy)
