"""Transposed convolutions over signals, images and volumes: one rule for any number of axes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.convolution import Sizes, per_axis, taps


class TransposedConvolution(Rule, functions=[F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d]):
    """The gradient of a convolution as a layer: x ([B,] I, *S), w (I, O / groups, *K), b (O), y ([B,] O, *P).

    An axis of n elements becomes one of P = (n - 1) s + d (K - 1) + 1 + output_padding - 2 padding.
    Derivation. Each element of x stamps the kernel, scaled by it, on a canvas z of P + 2 padding elements:
        z_o(s p + d k) += sum_i w_iok x_ip        (i runs over the channels of o's group)
    and y is b plus z without `padding` elements at either end. For one offset k of the kernel this is a matrix
    product over channels, Z_k = W_k^T X, with Z_k (O, P) the elements of z that all places stamp at k. So
        dx   = sum_k W_k dZ_k
        dW_k = x dZ_k^T, summed over the batch and all places
        db_o = sum over the batch and all places of dy_o
    where dz is dy with zeros at the ends that were cut off.
    Source: Zeiler et al., Deconvolutional networks, CVPR 2010; shapes as torch.nn.ConvTranspose2d has them.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        signal, image, bias = torch.randn(2, 3, 5), torch.randn(2, 3, 4, 3), torch.randn(2)
        weight, kernel = torch.randn(3, 2, 3), torch.randn(3, 2, 3, 2)
        yield case("signal", signal, weight, bias, function=F.conv_transpose1d)
        yield case("no bias", signal, weight, function=F.conv_transpose1d)
        yield case("unbatched", signal[0], weight, bias, function=F.conv_transpose1d)
        yield case("stride wider than the kernel", signal, weight[..., :1], None, (3,), function=F.conv_transpose1d)
        yield case("stride, padding", signal, weight, bias, 2, 1, function=F.conv_transpose1d)
        yield case("output padding", signal, weight, bias, 3, 1, 2, function=F.conv_transpose1d)
        yield case("dilation", signal, weight, bias, dilation=2, output_padding=1, function=F.conv_transpose1d)
        yield case("image", image, kernel, bias, function=F.conv_transpose2d)
        yield case("image, unbatched", image[0], kernel, function=F.conv_transpose2d)
        yield case(
            "image, all tuples", image, kernel, bias, (2, 1), (0, 2), (1, 0), 1, (1, 3), function=F.conv_transpose2d
        )
        groups = torch.randn(2, 4, 3, 2), torch.randn(4, 3, 2, 1), torch.randn(6)
        yield case("groups", *groups, stride=2, groups=2, function=F.conv_transpose2d)
        volume = torch.randn(1, 2, 2, 3, 2), torch.randn(2, 3, 2, 3, 1), torch.randn(3)
        yield case("volume", *volume, (1, 2, 1), (1, 0, 0), (0, 1, 0), function=F.conv_transpose3d)

    @staticmethod
    def forward(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sizes = 1,
        padding: int | Sizes = 0,
        output_padding: int | Sizes = 0,
        groups: int = 1,
        dilation: int | Sizes = 1,
    ) -> tuple[Tensor, Any]:
        kernel, places = tuple(weight.shape[2:]), tuple(input.shape[2 - weight.dim() :])
        axes = len(kernel)
        stride, padding, extra, dilation = (per_axis(n, axes) for n in (stride, padding, output_padding, dilation))
        window = (kernel, stride, dilation, places)
        x = input.reshape(-1, groups, len(weight) // groups, math.prod(places))  # (B, G, I, P)
        w = weight.reshape(groups, -1, weight.shape[1], *kernel).flatten(3)  # (G, I, O, K)
        steps = zip(places, kernel, stride, dilation, extra, strict=True)
        canvas = tuple((n - 1) * s + d * (k - 1) + 1 + e for n, k, s, d, e in steps)
        z = x.new_zeros(len(x), groups * w.shape[2], *canvas)  # (B, O, *canvas)
        for k, stamped in enumerate(taps(z, *window)):
            stamped += (w[..., k].transpose(-2, -1) @ x).reshape(stamped.shape)
        kept: tuple[Any, ...] = (..., *(slice(p, n - p) for n, p in zip(canvas, padding, strict=True)))
        y = z[kept]
        y = y.reshape(*input.shape[: -axes - 1], *y.shape[1:])
        if bias is not None:
            y = y + bias.reshape(-1, *[1] * axes)
        return y, (input, weight, bias, x, w, z.shape, kept, window)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, bias, x, w, canvas, kept, window = cache
        batch, groups, _, places = x.shape
        dz = dy.new_zeros(canvas)
        dz[kept] = dy
        dx, dw = torch.zeros_like(x), []
        for k, dstamped in enumerate(taps(dz, *window)):
            seen = dstamped.reshape(batch, groups, w.shape[2], places)
            dx += w[..., k] @ seen
            dw.append(torch.einsum("bgip,bgop->gio", x, seen))
        dbias = dz.flatten(2).sum((0, 2)) if bias is not None else None
        return dx.reshape(input.shape), torch.stack(dw, -1).reshape(weight.shape), dbias
