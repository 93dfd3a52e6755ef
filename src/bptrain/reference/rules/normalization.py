"""Normalizations that subtract a mean and divide by a standard deviation: batch, layer, group, instance.

All of them standardise over some axes S with n elements and then scale and shift:
    xhat_i = (x_i - m) r,   m = mean of x,   r = (v + eps)^(-1/2),   v = mean of (x - m)^2   (divided by n, not n - 1)
    y_i = w xhat_i + b
Derivation. The affine map gives dxhat_i = w dy_i, dw = sum of dy_i xhat_i and db = sum of dy_i over all places
that share w and b. For xhat write c_i = x_i - m, so that xhat_i = c_i r with r a function of all c_j:
    dr = sum_j dxhat_j c_j,   dr/dv = -r^3 / 2,   dv/dc_i = 2 c_i / n
    dc_i = r dxhat_i - r^3 c_i (sum_j dxhat_j c_j) / n = r (dxhat_i - xhat_i mean(dxhat xhat))
and c_i = x_i - mean(x) gives dx_i = dc_i - mean(dc). Since mean(xhat) = 0, mean(dc) = r mean(dxhat), so
    dx_i = r (dxhat_i - mean(dxhat) - xhat_i mean(dxhat xhat))
With a mean and a variance that are constants (running statistics) only the first term is left: dx_i = r dxhat_i.
Sources: Ioffe and Szegedy, arXiv 1502.03167 (2015); Ba, Kiros and Hinton, arXiv 1607.06450 (2016);
Ulyanov, Vedaldi and Lempitsky, arXiv 1607.08022 (2016); Wu and He, arXiv 1803.08494 (2018).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to

Axes = tuple[int, ...]


def standardise(x: Tensor, axes: Axes, eps: float) -> tuple[Tensor, Tensor]:
    """xhat, and r with the axes kept as axes of size 1."""
    centred = x - x.mean(axes, keepdim=True)
    r = (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    return centred * r, r


def standardise_gradient(xhat: Tensor, r: Tensor, axes: Axes, dxhat: Tensor) -> Tensor:
    """dx of `standardise`."""
    along = (dxhat * xhat).mean(axes, keepdim=True)
    return r * (dxhat - dxhat.mean(axes, keepdim=True) - xhat * along)


def affine(xhat: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """y = w xhat + b, with w and b broadcast over xhat, or absent."""
    scaled = xhat if weight is None else xhat * weight
    return scaled if bias is None else scaled + bias


def affine_gradient(
    xhat: Tensor, weight: Tensor | None, bias: Tensor | None, dy: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """dxhat, dw, db of `affine`."""
    dweight = None if weight is None else sum_to(dy * xhat, weight.shape)
    dbias = None if bias is None else sum_to(dy, bias.shape)
    return dy if weight is None else dy * weight, dweight, dbias


def _per_channel(x: Tensor, *vectors: Tensor | None) -> list[Tensor | None]:
    """Vectors (C) as (C, 1, ...), to broadcast over x (B, C, ...)."""
    return [None if v is None else v.reshape(-1, *[1] * (x.dim() - 2)) for v in vectors]


def _flat(*gradients: Tensor | None) -> list[Tensor | None]:
    return [None if g is None else g.reshape(-1) for g in gradients]  # (C)


def _channels(
    x: Tensor, axes: Axes, mean: Tensor | None, var: Tensor | None, weight: Any, bias: Any, eps: float
) -> tuple[Tensor, Any]:
    """x (B, C, ...) standardised over `axes`, or by the given statistics (C) where there are no axes."""
    mean, var, weight, bias = _per_channel(x, mean, var, weight, bias)
    if axes:
        xhat, r = standardise(x, axes, eps)
    elif mean is None or var is None:
        raise TypeError("no statistics to normalize by")
    else:
        r = (var + eps).rsqrt()
        xhat = (x - mean) * r
    return affine(xhat, weight, bias), (xhat, r, axes, weight, bias)


def _channels_gradient(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of input, running_mean, running_var, weight, bias."""
    xhat, r, axes, weight, bias = cache
    dxhat, dweight, dbias = affine_gradient(xhat, weight, bias, dy)
    dx = standardise_gradient(xhat, r, axes, dxhat) if axes else r * dxhat
    return dx, None, None, *_flat(dweight, dbias)


class BatchNorm(Rule, functions=[F.batch_norm], shifts=True):
    """Each channel of x (B, C, *S) standardised over batch and places (training), or by running statistics.

    In training the call also moves the running statistics, in place; the rule has no part in that, and in neither
    mode do they have a gradient: torch's contract is that they are constants.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x, vectors = torch.randn(2, 3, 5, 4), (torch.randn(3), torch.rand(3) + 0.5, torch.randn(3), torch.randn(3))
        statistics, affine = vectors[:2], vectors[2:]
        constant = ("running_mean", "running_var")
        yield case("training, images", x, None, None, *affine, True)
        yield case("training, signals", x[..., 0], *statistics, *affine, True, constant=constant)
        yield case("training, vectors", torch.randn(5, 3), *statistics, *affine, True, 0.2, 0.01, constant=constant)
        yield case("training, not affine", x, None, None, training=True)
        yield case("training, no bias", x, *statistics, weight=affine[0], training=True, constant=constant)
        yield case("training, no weight", x, *statistics, bias=affine[1], training=True, constant=constant)
        yield case("evaluation, images", x, *statistics, *affine, constant=constant)
        yield case("evaluation, vectors, not affine", torch.randn(5, 3), *statistics, eps=0.01, constant=constant)

    @staticmethod
    def forward(
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> tuple[Tensor, Any]:
        axes = (0, *range(2, input.dim())) if training else ()
        return _channels(input, axes, running_mean, running_var, weight, bias, eps)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _channels_gradient(cache, dy)


class InstanceNorm(Rule, functions=[F.instance_norm], shifts=True):
    """Each channel of each example of x (B, C, *S) standardised over its places, or by running statistics."""

    @staticmethod
    def cases() -> Iterable[Case]:
        x, statistics, affine = torch.randn(2, 3, 4), (torch.randn(3), torch.rand(3) + 0.5), torch.randn(2, 3).unbind()
        constant = ("running_mean", "running_var")
        yield case("signals", x)
        yield case("images, affine", torch.randn(2, 3, 2, 4), None, None, *affine, eps=0.01)
        yield case("with running statistics", x, *statistics, *affine, True, 0.2, constant=constant)
        yield case("by running statistics", x, *statistics, *affine, False, constant=constant)

    @staticmethod
    def forward(
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        use_input_stats: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> tuple[Tensor, Any]:
        axes = tuple(range(2, input.dim())) if use_input_stats else ()
        return _channels(input, axes, running_mean, running_var, weight, bias, eps)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _channels_gradient(cache, dy)


class GroupNorm(Rule, functions=[F.group_norm], shifts=True):
    """Each group of C / num_groups channels of each example of x (B, C, *S) standardised; w and b (C)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        x, affine = torch.randn(2, 6, 3, 2), torch.randn(2, 6).unbind()
        yield case("images", x, 3, *affine)
        yield case("vectors", torch.randn(5, 6), 2, *affine, 0.01)
        yield case("one group, no bias", x, 1, affine[0])
        yield case("a group for each channel, not affine", x, 6)

    @staticmethod
    def forward(
        input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
    ) -> tuple[Tensor, Any]:
        xhat, r = standardise(
            input.unflatten(1, (num_groups, -1)).flatten(2), (2,), eps
        )  # (B, G, C / G * S), (B, G, 1)
        weight, bias = _per_channel(input, weight, bias)
        return affine(xhat.reshape(input.shape), weight, bias), (xhat, r, weight, bias)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        xhat, r, weight, bias = cache
        dxhat, dweight, dbias = affine_gradient(xhat.reshape(dy.shape), weight, bias, dy)
        dx = standardise_gradient(xhat, r, (2,), dxhat.reshape(xhat.shape))
        return dx.reshape(dy.shape), None, *_flat(dweight, dbias)


class LayerNorm(Rule, functions=[F.layer_norm], shifts=True):
    """x (*, N) standardised over its last axes N = normalized_shape, one or several; w and b (N)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        x, affine = torch.randn(2, 3, 4), torch.randn(2, 4).unbind()
        yield case("one axis", x, (4,), *affine)
        yield case("two axes", x, [3, 4], torch.randn(3, 4), torch.randn(3, 4), 0.01)
        yield case("no bias", x, (4,), affine[0])
        yield case("not affine", x, (2, 3, 4))

    @staticmethod
    def forward(
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> tuple[Tensor, Any]:
        axes = tuple(range(-len(normalized_shape), 0))
        xhat, r = standardise(input, axes, eps)
        return affine(xhat, weight, bias), (xhat, r, axes, weight, bias)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        xhat, r, axes, weight, bias = cache
        dxhat, dweight, dbias = affine_gradient(xhat, weight, bias, dy)
        return standardise_gradient(xhat, r, axes, dxhat), None, dweight, dbias
