"""Convolutions over signals, images and volumes: one rule for any number of axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case

Sizes = tuple[int, ...]


def taps(x: Tensor, kernel: Sizes, stride: Sizes, dilation: Sizes, places: Sizes) -> Iterator[Tensor]:
    """For each offset of the kernel, row by row, the view (..., *P) of x (..., *S) that all places P see there."""
    for offset in itertools.product(*map(range, kernel)):
        steps = zip(offset, stride, dilation, places, strict=True)
        there: tuple[Any, ...] = (..., *(slice(k * d, k * d + (p - 1) * s + 1, s) for k, s, d, p in steps))
        yield x[there]


def per_axis(size: int | Sizes, axes: int) -> Sizes:
    sizes = (size,) if isinstance(size, int) else tuple(size)
    return sizes * axes if len(sizes) == 1 else sizes


def _padding(padding: str | int | Sizes, kernel: Sizes, dilation: Sizes) -> tuple[Sizes, Sizes]:
    """The zeros before and after each axis; an odd number of zeros for 'same' has the larger half after it."""
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(n // 2 for n in total), tuple(n - n // 2 for n in total)
    zeros = per_axis(0 if isinstance(padding, str) else padding, len(kernel))  # the other name is 'valid'
    return zeros, zeros


class Convolution(Rule, functions=[F.conv1d, F.conv2d, F.conv3d], in_order=True):
    """y = x * w + b (a cross-correlation: the kernel is not flipped), x ([B,] I, *S), w (O, I / groups, *K), b (O).

    Derivation. With z the padded x, s the stride and d the dilation, place p of output channel o is
        y_op = b_o + sum_i sum_k w_oik z_i(s p + d k)        (i runs over the channels of o's group)
    With Z (I K, B P) the elements that the places of all rows see, for each channel and offset, it is one matrix
    product in each group, y = W Z with W (O, I K). As for a linear map,
        dW = dy Z^T
        dZ = W^T dy, added to dz at those elements: an element is seen at several offsets
        db_o = sum over the batch and all places of dy_o
    and dx is dz without the padding, whose zeros are constants.
    Source: LeCun et al., Neural Computation 1 (1989); shapes as torch.nn.Conv2d has them.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        signal, image, bias = torch.randn(2, 3, 7), torch.randn(2, 3, 5, 4), torch.randn(2)
        weight, kernel = torch.randn(2, 3, 3), torch.randn(2, 3, 3, 2)
        yield case("signal", signal, weight, bias, function=F.conv1d)
        yield case("no bias", signal, weight, function=F.conv1d)
        yield case("unbatched", signal[0], weight, bias, function=F.conv1d)
        yield case("stride, a rest", signal, torch.randn(2, 3, 2), None, 3, function=F.conv1d)
        yield case("stride wider than the kernel", signal, torch.randn(2, 3, 1), None, (2,), function=F.conv1d)
        yield case("padding", signal, weight, bias, 2, 2, function=F.conv1d)
        yield case("dilation", signal, weight, bias, 1, 1, 3, function=F.conv1d)
        yield case("same, odd padding", signal, torch.randn(2, 3, 4), bias, padding="same", function=F.conv1d)
        yield case("valid", signal, weight, bias, 2, "valid", function=F.conv1d)
        yield case("image", image, kernel, bias, function=F.conv2d)
        yield case("image, unbatched", image[0], kernel, function=F.conv2d)
        yield case("image, all tuples", image, kernel, bias, (2, 1), (0, 2), (1, 2), function=F.conv2d)
        yield case("image, same", image, kernel, bias, padding="same", dilation=(1, 3), function=F.conv2d)
        yield case(
            "groups", torch.randn(2, 4, 3, 4), torch.randn(6, 2, 2, 1), torch.randn(6), groups=2, function=F.conv2d
        )
        yield case("depthwise", image, torch.randn(3, 1, 2, 3), torch.randn(3), 1, 1, groups=3, function=F.conv2d)
        yield case("one by one", image, torch.randn(2, 3, 1, 1), bias, function=F.conv2d)
        volume = torch.randn(1, 2, 3, 4, 3)
        yield case("volume", volume, torch.randn(2, 2, 2, 3, 1), bias, (1, 2, 1), (1, 0, 0), function=F.conv3d)

    @staticmethod
    def forward(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sizes = 1,
        padding: str | int | Sizes = 0,
        dilation: int | Sizes = 1,
        groups: int = 1,
    ) -> tuple[Tensor, Any]:
        kernel = tuple(weight.shape[2:])
        axes = len(kernel)
        stride, dilation = per_axis(stride, axes), per_axis(dilation, axes)
        before, after = _padding(padding, kernel, dilation)
        x = input.reshape(-1, *input.shape[-axes - 1 :])  # (B, I, *S)
        z = F.pad(x, [n for ends in zip(before[::-1], after[::-1], strict=True) for n in ends])
        steps = zip(z.shape[2:], kernel, stride, dilation, strict=True)
        places = tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in steps)
        window = (kernel, stride, dilation, places)
        w = weight.reshape(groups, len(weight) // groups, -1)  # (G, O, I K)
        y = (w @ _seen(z, groups, window)).reshape(len(weight), len(z), *places)  # (G O, B, *P)
        y = y.transpose(0, 1).reshape(*input.shape[: -axes - 1], len(weight), *places)
        if bias is not None:
            y = y + bias.reshape(-1, *[1] * axes)
        return y, (input, weight, bias, before, z, w, window)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, bias, before, z, w, window = cache
        groups, outputs, _ = w.shape
        axes = weight.dim() - 2
        dy = dy.reshape(len(z), len(weight), -1).transpose(0, 1).reshape(groups, outputs, -1)  # (G, O, B P)
        dw = dy @ _seen(z, groups, window).transpose(1, 2)
        dseen = (w.transpose(1, 2) @ dy).reshape(z.shape[1], -1, len(z), *window[-1])  # (G I, K, B, *P)
        dz = torch.zeros_like(z)
        for k, there in enumerate(taps(dz, *window)):
            there += dseen[:, k].transpose(0, 1)
        inside: tuple[Any, ...] = (..., *(slice(p, p + n) for p, n in zip(before, input.shape[-axes:], strict=True)))
        dx = dz[inside].reshape(input.shape)
        dbias = dy.sum(2).reshape(-1) if bias is not None else None
        return dx, dw.reshape(weight.shape), dbias


def _seen(z: Tensor, groups: int, window: tuple[Sizes, Sizes, Sizes, Sizes]) -> Tensor:
    """What the places of all rows see of z (B, C, *S): (G, I K, B P)."""
    axes, seen = len(window[0]), z
    for axis, (k, s, d, p) in enumerate(zip(*window, strict=True), start=2):
        seen = seen.unfold(axis, d * (k - 1) + 1, s).narrow(axis, 0, p)[..., ::d]  # (B, C, *P, *K), axis by axis
    channel_first = seen.permute(1, *range(2 + axes, 2 + 2 * axes), 0, *range(2, 2 + axes))
    return channel_first.reshape(groups, -1, len(z) * math.prod(window[3]))


class ConvTBC(Rule, functions=[F.conv_tbc]):
    """y (P, B, O) = the convolution of x (T, B, I) with w (K, I, O) and b (O), `pad` zeros at both ends of the time.

    Derivation. As for `Convolution` with the axes in another order.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("plain", torch.randn(5, 2, 3), torch.randn(2, 3, 4), torch.randn(4))
        yield case("padding", torch.randn(4, 1, 3), torch.randn(3, 3, 2), torch.randn(2), pad=2)

    @staticmethod
    def forward(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> tuple[Tensor, Any]:
        y, cache = Convolution.forward(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
        return y.permute(2, 0, 1), cache

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dx, dweight, dbias = Convolution.backward(cache, dy.permute(1, 2, 0))
        return dx.permute(2, 0, 1), dweight.permute(2, 1, 0), dbias  # type: ignore[union-attr]
