"""Divisive normalizations: x divided by a power of the mean of squares near it, without subtracting a mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.normalization import affine, affine_gradient


class RMSNorm(Rule, functions=[F.rms_norm, torch.rms_norm], random=True):
    """y = w x r with r = (mean of x^2 + eps)^(-1/2) over the last axes N = normalized_shape, x (*, N), w (N).

    Derivation. With xhat = x r and dxhat = w dy:  dr/dx_i = -r^3 x_i / n, so
        dx_i = r dxhat_i - r^3 x_i (sum_j dxhat_j x_j) / n = r (dxhat_i - xhat_i mean(dxhat xhat))
    Without `eps` torch takes the rounding unit of the dtype it computes in: that of float64 for float64, else that
    of float32. The call itself tells which (nothing here is random): on x = 1e-5 float64 gives 1, float32 0.03.
    Source: Zhang and Sennrich, arXiv 1910.07467 (2019).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.randn(2, 3, 4)
        yield case("one axis", x, (4,), torch.randn(4))
        yield case("two axes", x, [3, 4], torch.randn(3, 4), 0.01)
        yield case("not affine", x, (4,), eps=0.1)
        yield case("no eps, all zero", torch.zeros(2, 3), (3,), smooth=False)

    @staticmethod
    def forward(
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        eps: float | None = None,
        *,
        again: Callable,
    ) -> tuple[Tensor, Any]:
        axes = tuple(range(-len(normalized_shape), 0))
        if eps is None:
            wide = again(input.new_full(tuple(normalized_shape), 1e-5), normalized_shape).max() > 0.5
            eps = torch.finfo(torch.float64 if wide else torch.float32).eps
        r = (input.square().mean(axes, keepdim=True) + eps).rsqrt()  # (*, 1)
        return affine(input * r, weight, None), (input * r, r, axes, weight)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        xhat, r, axes, weight = cache
        dxhat, dweight, _ = affine_gradient(xhat, weight, None, dy)
        return r * (dxhat - xhat * (dxhat * xhat).mean(axes, keepdim=True)), None, dweight


class LocalResponseNorm(Rule, functions=[F.local_response_norm]):
    """y_c = x_c d_c^(-beta) with d_c = k + alpha / size sum of x_e^2 over the `size` channels e around c, x (B, C, *S).

    They are c - size // 2 ... c + (size - 1) // 2, as far as there are such channels.
    Derivation. dd_c / dx_e = 2 alpha / size x_e for e around c, so
        dx_e = dy_e d_e^(-beta) - 2 alpha beta / size x_e  sum of dy_c x_c d_c^(-beta - 1) over the c that e is around
    Source: Krizhevsky, Sutskever and Hinton, NeurIPS (2012), section 3.3.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("signals", torch.randn(2, 5, 3), 3)
        yield case("images, even size", torch.randn(2, 3, 2, 4), 2, 0.3, 0.6, 2.0)
        yield case("more than all channels", torch.randn(2, 3, 2), 7, alpha=0.5, beta=1.5, k=0.7)

    @staticmethod
    def around(size: int, distance: Tensor, channel: Tensor) -> Tensor:
        """Whether `channel` (C) is among those around the one which it is at `distance` (C, C) of."""
        return (distance >= -(size // 2)) & (distance <= (size - 1) // 2)

    @classmethod
    def forward(
        cls, input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> tuple[Tensor, Any]:
        channel = torch.arange(input.shape[1], device=input.device)
        distance = channel - channel[:, None]  # (C, C), from the row's channel to the column's
        around = cls.around(size, distance, channel).to(input.dtype)
        d = k + alpha / size * _sum_channels(around, input.square())
        return input * d**-beta, (input, d, around, alpha / size, beta)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        x, d, around, scale, beta = cache
        shared = _sum_channels(around.transpose(0, 1), dy * x * d ** (-beta - 1))
        return dy * d**-beta - 2 * scale * beta * x * shared


class CrossMapLRN2d(LocalResponseNorm, functions=[torch.nn.modules._functions.CrossMapLRN2d]):
    """The same with the channels that the Function behind nn.CrossMapLRN2d adds up, images (B, C, H, W).

    With p = (size - 1) // 2 + 1 they are c - p + 1 ... c + p - 1, and the first channel for every c: torch never takes
    it out of its moving sum (`if c > pre_pad`, where c counts from 0). The backward of torch is another's still, and
    differences say so (torch 2.13); the two agree where each channel is around all others.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("more than all channels", torch.randn(2, 3, 2, 1), 7, 0.5, 1.5, 0.7)

    @staticmethod
    def around(size: int, distance: Tensor, channel: Tensor) -> Tensor:
        reach = (size - 1) // 2
        return (distance <= reach) & ((distance >= -reach) | (channel == 0))


def _sum_channels(chosen: Tensor, x: Tensor) -> Tensor:
    """For each row of `chosen` (C, C) the sum of the channels of x (B, C, *S) that it marks."""
    return (chosen @ x.flatten(2)).reshape(x.shape)
