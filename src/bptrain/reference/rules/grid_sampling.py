"""Images and volumes sampled at the places of a grid, and the grids of affine maps.

A place g of the grid runs from -1 at one end of an axis of n elements to 1 at the other, so that it lies at
    t = (g + 1) n / 2 - 1/2,   with `align_corners` t = (g + 1) (n - 1) / 2
Source: Jaderberg, Simonyan, Zisserman and Kavukcuoglu, Spatial transformer networks (2015).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.interpolation import cubic

MODES, PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
A = -0.75  # of Keys' kernel


def position(g: Tensor, n: int, align: bool) -> tuple[Tensor, float]:
    """t and dt/dg, rounded as torch's kernels round, since a t next to a whole number may be on either side of it.

    Those of CUDA and of images make one rounding of (g + 1) n - 1: a b is taken as p + e with the error e of p = a b
    (Dekker, Numerische Mathematik 18 (1971)), and e is added last.
    """
    slope, volume = (n - 1) / 2 if align else n / 2, g.dim() == 4
    if align:
        return ((g + 1) / 2 * (n - 1) if g.is_cuda or volume else (g + 1) * slope), slope
    a = g + 1
    p, e = a * n, torch.zeros_like(a)
    if g.is_cuda or not volume:
        wide = a * (2.0 ** (27 if a.dtype is torch.float64 else 12) + 1)
        high = wide - (wide - a)  # with half the digits of a
        e = (high * n - p) + (a - high) * n
    return (p - 1 + e) / 2, slope


def bounded(t: Tensor, n: int, padding: str, align: bool) -> tuple[Tensor, Tensor]:
    """t brought between 0 and n - 1, and its slope: 0 beyond and at these, but for 'zeros', which leaves t as it is."""
    slope = torch.ones_like(t)
    if padding == "zeros":
        return t, slope
    if padding == "reflection":
        low, span = (0.0, n - 1) if align else (-0.5, n)
        if span == 0:
            return torch.zeros_like(t), torch.zeros_like(t)
        turns = ((t - low).abs() / span).floor()
        rest, odd = (t - low).abs() - turns * span, torch.remainder(turns, 2) == 1
        slope = torch.where(t < low, -1, 1) * torch.where(odd, -slope, slope)
        t = torch.where(odd, span - rest, rest) + low
    return t.clamp(0, n - 1), torch.where((t > 0) & (t < n - 1), slope, 0)


def taps(g: Tensor, n: int, mode: str, padding: str, align: bool) -> tuple[Tensor, Tensor, Tensor]:
    """For places g (...) the K elements that each of them reads, their weights and their slopes dw/dg, (..., K)."""
    t, slope = position(g, n, align)
    if mode == "bicubic":
        seen = t.floor()[..., None] + torch.arange(-1, 3, device=g.device)
        u = t[..., None] - seen
        near, size = u.abs() <= 1, u.abs()
        dw = torch.where(near, (3 * (A + 2) * size - 2 * (A + 3)) * size, ((3 * size - 10) * size + 8) * A) * u.sign()
        index, w, dw = bounded(seen, n, padding, align)[0].round(), cubic(u, A), dw * slope
    else:
        t, inner = bounded(t, n, padding, align)
        if mode == "nearest":
            index, w = t.round()[..., None], torch.ones_like(t)[..., None]
            dw = torch.zeros_like(w)
        else:
            index = t.floor()[..., None] + torch.arange(2, device=g.device)
            w = 1 - (t[..., None] - index).abs()
            dw = (inner * slope)[..., None] * torch.tensor([-1.0, 1.0], device=g.device)
    inside = (index >= 0) & (index <= n - 1)
    return torch.where(inside, index, 0).long(), torch.where(inside, w, 0), torch.where(inside, dw, 0)


class GridSample(Rule, functions=[F.grid_sample]):
    """y (B, C, *P) = x (B, C, *S) at the places of the grid (B, *P, d), the first of d numbers along the last axis.

    Along each axis an element reads with a weight w
        nearest    the element at round(t)
        bilinear   the two around t, w = 1 - |t - j|
        bicubic    four around t, Keys' kernel with a = -0.75 of t - j
    and the weights of the axes are multiplied. Beyond the ends are zeros, the elements at the end ('border', t is
    clamped), or those mirrored there ('reflection').
    Derivation. y is linear in x; dg is the sum over elements and channels of dy x times the weights of the other
    axes and dw/dg = dw/dt n / 2 or (n - 1) / 2. Conventions: dw/dt at a whole t is that to its right, and 0 at both
    ends and beyond where t is bounded.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        image, volume = torch.randn(2, 3, 4, 5), torch.randn(1, 2, 3, 4, 2)
        grid, space = 2.6 * torch.rand(2, 2, 3, 2) - 1.3, 2.6 * torch.rand(1, 2, 1, 3, 3) - 1.3
        for mode in MODES:
            for padding in PADDINGS:
                smooth = mode != "nearest"
                yield case(f"{mode}, {padding}", image, grid, mode, padding, False, smooth=smooth)
                yield case(f"{mode}, {padding}, corners", image, grid, mode, padding, align_corners=True, smooth=smooth)
                if mode != "bicubic":
                    yield case(f"{mode}, {padding}, volume", volume, space, mode, padding, False, smooth=smooth)
        yield case("far", image, 4 * grid, "bilinear", "reflection", True)
        whole = torch.tensor([[[[-1.0, 1.0], [0.0, -1.0], [3.0, 0.0]]]]).expand(2, 1, 3, 2)
        for padding in PADDINGS:
            yield case(f"whole, {padding}", image, whole, padding_mode=padding, align_corners=True, smooth=False)

    @staticmethod
    def kinks(
        input: Tensor,
        grid: Tensor,
        mode: str = "bilinear",
        padding_mode: str = "zeros",
        align_corners: bool | None = None,
    ) -> int:
        if mode != "bilinear":
            return 0
        count = 0
        for k, n in enumerate(reversed(input.shape[2:])):
            t = position(grid[..., k], n, bool(align_corners))[0]
            beyond = {"zeros": 1.0, "border": 0.0, "reflection": math.inf}[padding_mode]
            count += int(((t == t.round()) & (t >= -beyond) & (t <= n - 1 + beyond)).sum())
        return count

    @staticmethod
    def forward(
        input: Tensor,
        grid: Tensor,
        mode: str = "bilinear",
        padding_mode: str = "zeros",
        align_corners: bool | None = None,
    ) -> tuple[Tensor, Any]:
        batch, channels, *sizes = input.shape
        index = torch.zeros_like(grid[..., :1], dtype=torch.long)  # (B, *P, 1)
        shares: list[Tensor] = [torch.ones_like(grid[..., :1])] * (len(sizes) + 1)  # the last one without a slope in it
        for k, n in enumerate(sizes):
            axis = len(sizes) - 1 - k
            seen, w, dw = taps(grid[..., axis], n, mode, padding_mode, bool(align_corners))  # (B, *P, K)
            index = (index[..., None] * n + seen[..., None, :]).flatten(-2)
            shares = [_product(share, dw if i == axis else w) for i, share in enumerate(shares)]
        index = index.reshape(batch, 1, -1).expand(-1, channels, -1)  # (B, C, P K)
        shape = (batch, channels, *shares[0].shape[1:])
        values = input.flatten(2).gather(2, index).reshape(shape)  # (B, C, *P, K)
        return (values * shares[-1][:, None]).sum(-1), (input.shape, index, values, shares)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        shape, index, values, (*slopes, share) = cache
        spread = (dy[..., None] * share[:, None]).reshape(index.shape)
        dx = spread.new_zeros(*shape[:2], shape[2:].numel()).scatter_add(2, index, spread)
        seen = (dy[..., None] * values).sum(1)  # (B, *P, K)
        return dx.reshape(shape), torch.stack([(seen * slope).sum(-1) for slope in slopes], -1)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """All products of the weights (..., J) and (..., K), as (..., J K)."""
    return (a[..., None] * b[..., None, :]).flatten(-2)


class GridSampler(Rule, functions=[torch.grid_sampler, torch.grid_sampler_2d, torch.grid_sampler_3d]):
    """torch's own, below torch.nn.functional: as `GridSample`, with the number of the mode and of the padding."""

    @staticmethod
    def cases() -> Iterable[Case]:
        image, volume = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4, 2)
        yield case("image", image, 2 * torch.rand(1, 2, 3, 2) - 1, 0, 1, True)
        space = 2 * torch.rand(1, 2, 1, 3, 3) - 1
        yield case("volume", volume, space, 1, 2, False, function=torch.grid_sampler_3d, smooth=False)

    @staticmethod
    def kinks(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool) -> int:
        return GridSample.kinks(input, grid, MODES[interpolation_mode], PADDINGS[padding_mode], align_corners)

    @staticmethod
    def forward(
        input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
    ) -> tuple[Tensor, Any]:
        return GridSample.forward(input, grid, MODES[interpolation_mode], PADDINGS[padding_mode], align_corners)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        return GridSample.backward(cache, dy)


class AffineGrid(Rule, functions=[F.affine_grid, torch.affine_grid_generator]):
    """y (B, *P, d) = the places A (p, 1) of maps A (B, d, d + 1), p the places of the elements of `size` (B, C, *P).

    Along an axis of n elements these are evenly spread in -1 ... 1, with `align_corners` from end to end.
    Derivation. dA is the sum over the places of dy (p, 1)^T.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("image", torch.randn(2, 2, 3), (2, 1, 3, 4), True)
        yield case("volume", torch.randn(1, 3, 4), [1, 2, 3, 1, 2], False)
        yield case("one element", torch.randn(2, 2, 3), (2, 1, 1, 4), True, function=torch.affine_grid_generator)

    @staticmethod
    def forward(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> tuple[Tensor, Any]:
        places = list(size[2:])
        lines = [torch.ones(places, dtype=theta.dtype, device=theta.device)]
        for axis, n in enumerate(places):
            i = torch.arange(n, device=theta.device).to(theta.dtype)
            line = 2 * i / max(n - 1, 1) - int(n > 1) if align_corners else (2 * i + 1) / n - 1
            lines.insert(0, line.reshape([-1 if k == axis else 1 for k in range(len(places))]).expand(places))
        points = torch.stack(lines, -1).flatten(0, -2)  # (P, d + 1), its first numbers those along the last axis
        return (points @ theta.transpose(1, 2)).reshape(len(theta), *places, -1), points

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy.flatten(1, -2).transpose(1, 2) @ cache
