"""Shuffles: channels that become places, places that become channels, channels in another order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, case
from bptrain.reference.rules.indexing import Picked, pick


class PixelShuffle(Picked, functions=[F.pixel_shuffle]):
    """y (*, C, H r, W r) of x (*, C r^2, H, W): r^2 channels of one place become a square of r x r places.

    Source: Shi et al., arXiv 1609.05158 (2016).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("images", torch.randn(2, 8, 3, 1), 2)
        yield case("one image", torch.randn(9, 2, 3), upscale_factor=3)

    @staticmethod
    def forward(input: Tensor, upscale_factor: int) -> tuple[Tensor, Any]:
        r, (channels, height, width) = upscale_factor, input.shape[-3:]

        def choose(places: Tensor) -> Tensor:
            squares = places.unflatten(-3, (channels // r**2, r, r)).movedim((-4, -3), (-3, -1))  # (*, C, H, r, W, r)
            return squares.reshape(*input.shape[:-3], channels // r**2, height * r, width * r)

        return pick(input, choose)


class PixelUnshuffle(Picked, functions=[F.pixel_unshuffle]):
    """y (*, C r^2, H, W) of x (*, C, H r, W r): the way back from `PixelShuffle`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("images", torch.randn(2, 3, 4, 2), 2)
        yield case("one image", torch.randn(2, 3, 6), downscale_factor=3)

    @staticmethod
    def forward(input: Tensor, downscale_factor: int) -> tuple[Tensor, Any]:
        r, (channels, height, width) = downscale_factor, input.shape[-3:]

        def choose(places: Tensor) -> Tensor:
            squares = places.unflatten(-1, (width // r, r)).unflatten(-3, (height // r, r))  # (*, C, H, r, W, r)
            squares = squares.movedim((-3, -1), (-4, -3))  # (*, C, r, r, H, W)
            return squares.reshape(*input.shape[:-3], channels * r**2, height // r, width // r)

        return pick(input, choose)


class ChannelShuffle(Picked, functions=[F.channel_shuffle]):
    """y (B, C, *S) = x with channels read column by column from a table of `groups` rows.

    Source: Zhang et al., arXiv 1707.01083 (2017).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("images", torch.randn(2, 6, 1, 3), 2)
        yield case("signals", torch.randn(2, 6, 3), groups=3)

    @staticmethod
    def forward(input: Tensor, groups: int) -> tuple[Tensor, Any]:
        def choose(places: Tensor) -> Tensor:
            return places.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)

        return pick(input, choose)
