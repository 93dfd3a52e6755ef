"""Integrals and derivatives of functions known by their values y_i at places x_i along an axis.

Derivation. The integral between two places is t_i = d_i (y_i + y_{i+1}) / 2 with d_i = x_{i+1} - x_i, so that y_i gets
(d_{i-1} dt_{i-1} + d_i dt_i) / 2 and d_i gets dt_i (y_i + y_{i+1}) / 2. The derivative is linear in y: y' = M y gives
dy = M^T dy'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.reduction import Cumsum
from bptrain.reference.rules.scan import Diff


def _ends(y: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """All slices along the axis but the last, and all but the first."""
    n = y.shape[dim] - 1
    return y.narrow(dim, 0, n), y.narrow(dim, 1, n)


def _pieces(y: Tensor, x: Tensor | None, dx: float, dim: int) -> tuple[Tensor, Any]:
    """The integrals t between neighbours, and what `_pieces_gradients` needs; a vector x lies along the axis."""
    left, right = _ends(y, dim)
    middle, places, width = (left + right) / 2, None, torch.full((), dx, dtype=y.dtype, device=y.device)
    if x is not None:
        axis = dim % y.dim()
        shape = [-1 if i == axis else 1 for i in range(y.dim())] if x.dim() == 1 else [1] * (y.dim() - x.dim())
        shaped = x.reshape(shape) if x.dim() == 1 else x.reshape(*shape, *x.shape)
        width, places = Diff.forward(shaped, dim=dim)
    return middle * width, (y.shape, None if x is None else x.shape, dim, middle, width, places)


def _pieces_gradients(cache: Any, dt: Tensor) -> tuple[Tensor, Tensor | None]:
    """dy and dx of `_pieces`."""
    shape, x_shape, dim, middle, width, places = cache
    half = sum_to(dt * width / 2, middle.shape)
    zero = torch.zeros_like(half.narrow(dim, 0, 1))
    dy = torch.cat([half, zero], dim) + torch.cat([zero, half], dim)
    if places is None:
        return dy.reshape(shape), None
    return dy.reshape(shape), Diff.backward(places, sum_to(dt * middle, width.shape))[0].reshape(x_shape)  # type: ignore[union-attr]


class Trapezoid(Rule, functions=[torch.trapezoid, torch.trapz]):
    """The integral of y along the axis `dim` by the trapezoidal rule, with places x or the distance `dx`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("plain", torch.randn(2, 4))
        yield case("distance", torch.randn(4, 2), dx=0.7, dim=0)
        yield case("places", torch.randn(4, 2), torch.randn(4), dim=0)
        yield case("places of each", torch.randn(2, 1, 4), torch.randn(3, 4))

    @staticmethod
    def forward(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> tuple[Tensor, Any]:
        t, cache = _pieces(y, x, dx, dim)
        return t.sum(dim), (t.shape, dim, cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        shape, dim, cache = cache
        return _pieces_gradients(cache, dy.unsqueeze(dim).expand(shape))


class CumulativeTrapezoid(Rule, functions=[torch.cumulative_trapezoid]):
    """The integrals of y from the first place to each of the others."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return Trapezoid.cases()

    @staticmethod
    def forward(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> tuple[Tensor, Any]:
        t, cache = _pieces(y, x, dx, dim)
        return t.cumsum(dim), (dim, cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dim, cache = cache
        return _pieces_gradients(cache, Cumsum.backward(dim, dy))


class Gradient(Rule, functions=[torch.gradient]):
    """y' along each axis, exact for a parabola inside and for a line, or with `edge_order` 2 a parabola, at both ends.

    With distances a and b to both neighbours M has -b / (a (a + b)), (b - a) / (a b), a / (b (a + b)) inside, and at an
    end -1 / a, 1 / a, or -(2 a + b) / (a (a + b)), (a + b) / (a b), -a / (b (a + b)). `spacing` is a distance, one for
    each axis, or the places along each; they are constants here.
    Source: Fornberg, Mathematics of Computation 51 (1988).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.randn(5, 4)
        yield case("all axes", x)
        yield case("distances", x, spacing=(0.7, 2.0), edge_order=2)
        places = torch.tensor([0.0, 0.5, 0.7, 2.0])
        yield case("places", x, spacing=(places,), dim=1, edge_order=2, constant=("spacing",))
        yield case("one distance", x, spacing=0.7, dim=(-2,))

    @staticmethod
    def matrix(d: Tensor, edge_order: int) -> Tensor:
        """M, for the distances d (n - 1)."""
        n = len(d) + 1
        m = d.new_zeros(n, n)
        a, b, i = d[:-1], d[1:], torch.arange(1, n - 1, device=d.device)
        m[i, i - 1], m[i, i], m[i, i + 1] = -b / (a * (a + b)), (b - a) / (a * b), a / (b * (a + b))
        for end, sign, edge in ((0, 1, d), (-1, -1, d.flip(0))):  # counted from each end
            step, a = -1 if end else 1, edge[0]
            if edge_order == 1:
                m[end, end], m[end, end + step] = -sign / a, sign / a
            else:
                b = edge[1]
                m[end, end] = -sign * (2 * a + b) / (a * (a + b))
                m[end, end + step], m[end, end + 2 * step] = sign * (a + b) / (a * b), -sign * a / (b * (a + b))
        return m

    @staticmethod
    def forward(
        input: Tensor, *, spacing: Any = None, dim: int | Sequence[int] | None = None, edge_order: int = 1
    ) -> tuple[tuple[Tensor, ...], Any]:
        dims = list(range(input.dim())) if dim is None else [dim] if isinstance(dim, int) else list(dim)
        spacings = spacing if isinstance(spacing, (tuple, list)) else [1 if spacing is None else spacing] * len(dims)
        found, matrices = [], []
        for axis, given in zip(dims, spacings, strict=True):
            n = input.shape[axis]
            places = given if isinstance(given, Tensor) else None
            d = input.new_full((n - 1,), given) if places is None else (places[1:] - places[:-1]).to(input.dtype)
            matrices.append((axis, Gradient.matrix(d, edge_order)))
            found.append((input.transpose(axis, -1) @ matrices[-1][1].transpose(0, 1)).transpose(axis, -1))
        return tuple(found), matrices

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, ...]) -> Tensor:
        return sum((g.transpose(axis, -1) @ m).transpose(axis, -1) for g, (axis, m) in zip(dy, cache, strict=True))
