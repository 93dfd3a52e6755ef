"""Interpolation: signals, images and volumes of another size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case

LINEAR = ("linear", "bilinear", "trilinear")
# Half the width of a filter, and the filter itself.
FILTERS: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "bilinear": (1, lambda x: (1 - x.abs()).clamp_min(0)),
    "bicubic": (2, lambda x: cubic(x, -0.5)),
    "lanczos": (3, lambda x: torch.where(x.abs() < 3, _sinc(x) * _sinc(x / 3), 0)),
}


def cubic(x: Tensor, a: float) -> Tensor:
    """The cubic convolution kernel of Keys, IEEE Transactions on Acoustics, Speech and Signal Processing 29 (1981)."""
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * a * x - 4 * a
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0))


def _sinc(x: Tensor) -> Tensor:
    return torch.where(x == 0, 1, (math.pi * x).sin() / torch.where(x == 0, 1, math.pi * x))


def nearest(n: int, size: int, scale: float, exact: bool, double: bool, device: torch.device) -> Tensor:
    """The matrix (size, n) with a 1 at the element next below the position of each place, in torch's arithmetic.

    `scale` elements lie between two places. Where a position is a whole number, rounding decides: torch computes it in
    float32, but for a float64 input it rounds only the result of the multiplication to float32.
    """
    real = torch.float64 if double else torch.float32
    i = torch.arange(size, device=device).to(real) + 0.5 * exact
    position = (i * torch.tensor(scale, dtype=real, device=device)).to(torch.float32)
    return position.floor().clamp(max=n - 1)[:, None] == torch.arange(n, device=device)


def weights(n: int, size: int, scale: float, mode: str, align: bool, like: Tensor) -> Tensor:
    """The matrix (size, n) whose row i makes place i of the result from the n elements of an axis."""
    i, j = (torch.arange(k, device=like.device).to(like.dtype) for k in (size, n))
    x = i * scale if align else (i + 0.5) * scale - 0.5  # (size)
    if mode in LINEAR:
        return (1 - (x.clamp(0, n - 1)[:, None] - j).abs()).clamp_min(0)
    seen = x.floor()[:, None] + torch.arange(-1, 3, device=like.device)  # (size, 4)
    shares = cubic(x[:, None] - seen, -0.75)
    return like.new_zeros(size, n).scatter_add(1, seen.clamp(0, n - 1).long(), shares)


def smooth_weights(n: int, size: int, scale: float, mode: str, like: Tensor) -> Tensor:
    """The matrix (size, n) of `antialias`: a filter as wide as the elements that one place stands for, of sum 1."""
    half, kernel = FILTERS[mode]
    wide = max(scale, 1.0)
    i, j = (torch.arange(k, device=like.device).to(like.dtype) + 0.5 for k in (size, n))
    centre = (i * scale)[:, None]  # (size, 1)
    first, end = ((centre + side * half * wide + 0.5).floor() for side in (-1, 1))
    w = torch.where((j > first) & (j < end), kernel((j - centre) / wide), 0)
    return w / w.sum(1, keepdim=True)


def area(n: int, size: int, like: Tensor) -> Tensor:
    """The matrix (size, n) of the means over the parts floor(i n / size) to ceil((i + 1) n / size)."""
    i, j = torch.arange(size, device=like.device)[:, None], torch.arange(n, device=like.device)
    inside = ((j + 1) * size > i * n) & (j * size < (i + 1) * n)
    return inside.to(like.dtype) / inside.sum(1, keepdim=True)


class Interpolate(Rule, functions=[F.interpolate], random=True):
    """y = M_1 ... M_d x, a matrix M (P, S) for each axis, x (B, C, *S), y (B, C, *P).

    P is `size`, or floor(scale_factor S). Place i lies at t = (i + 1/2) r - 1/2 between the elements, where r is
    1 / scale_factor, or S / P with a size or with `recompute_scale_factor`. With `align_corners` both ends stay where
    they are, t = i (S - 1) / (P - 1). Row i of M is
        nearest         1 at floor(i r);   nearest-exact   1 at floor((i + 1/2) r)
        linear, ...     1 - |t - j| for the two elements j around t, all at the edge beyond it
        bicubic         Keys' kernel with a = -0.75 of t - j for four elements, those beyond the edge added to it
        area            the mean over the part i of P (adaptive average pooling)
        antialias       a triangle, Keys' kernel with a = -0.5 or Lanczos' of (t - j) / max(r, 1), divided by its sum
    Derivation. y is linear in x, so dx = M_1^T ... M_d^T dy.
    Deviation of torch: in float64 its forward and its backward of nearest and nearest-exact do not round alike (see
    `nearest`), so that for some sizes, such as 25 to 115, autograd's float64 gradient goes to a neighbour.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        signal, image, volume = torch.randn(2, 3, 5), torch.randn(2, 3, 5, 4), torch.randn(1, 2, 3, 4, 2)
        for mode in ("nearest", "nearest-exact", "area"):
            yield case(f"{mode}, signal", signal, 7, mode=mode)
            yield case(f"{mode}, image", image, None, (2.5, 0.6), mode)
            yield case(f"{mode}, volume", volume, (5, 2, 3), mode=mode)
        for mode, x in (("linear", signal), ("bilinear", image), ("trilinear", volume), ("bicubic", image)):
            yield case(f"{mode}, larger", x, 9, mode=mode)
            yield case(f"{mode}, smaller", x, scale_factor=0.6, mode=mode)
            yield case(f"{mode}, recomputed", x, None, 1.7, mode, False, True)
            yield case(f"{mode}, corners", x, None, 2, mode, True)
            yield case(f"{mode}, one place", x, 1, mode=mode, align_corners=True)
        for mode in FILTERS:
            yield case(f"{mode}, antialias, smaller", torch.randn(1, 2, 11, 7), (4, 3), mode=mode, antialias=True)
            yield case(f"{mode}, antialias, larger", image, None, 1.7, mode, antialias=True)
        yield case("antialias, corners", torch.randn(1, 2, 11, 7), (4, 3), None, "bilinear", True, antialias=True)

    @staticmethod
    def forward(
        input: Tensor,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
        antialias: bool = False,
        *,
        again: Callable,
    ) -> tuple[Tensor, Any]:
        axes = input.dim() - 2
        sizes: Any = size if isinstance(size, Sequence) else (size,) * axes
        factors: Any = scale_factor if isinstance(scale_factor, Sequence) else (scale_factor,) * axes
        # torch has positions in float32 where it computes in a narrower dtype.
        like = input.new_empty(0, dtype=torch.float64 if input.dtype is torch.float64 else torch.float32)
        double = again(input, function=lambda x: x.dtype is torch.float64)
        y, matrices = input, []
        for axis, (given, factor) in enumerate(zip(sizes, factors, strict=True)):
            n = input.shape[2 + axis]
            places = math.floor(n * factor) if given is None else given
            scale = n / places if factor is None or recompute_scale_factor else 1 / factor
            if align_corners:
                scale = (n - 1) / (places - 1) if places > 1 else 0.0
            if mode.startswith("nearest"):
                matrix = nearest(n, places, scale, mode == "nearest-exact", double, input.device)
            elif mode == "area":
                matrix = area(n, places, like)
            elif antialias:
                matrix = smooth_weights(n, places, scale, mode, like)
            else:
                matrix = weights(n, places, scale, mode, bool(align_corners), like)
            matrices.append(matrix.to(input.dtype))
            y = _along(matrices[-1], y, axis)
        return y, matrices

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        for axis, matrix in enumerate(cache):
            dy = _along(matrix.transpose(0, 1), dy, axis)
        return dy


def _along(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """The matrix times all columns of x along an axis of places."""
    return (x.transpose(2 + axis, -1) @ matrix.transpose(0, 1)).transpose(2 + axis, -1)
