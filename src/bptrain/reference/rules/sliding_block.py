"""Sliding blocks: the windows of an image as the columns of a matrix (unfold), and the sum of such columns (fold)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.window import Sizes, Windows, sliding


def unfolded(x: Tensor, windows: Windows) -> Tensor:
    """The columns ([B,] C K, P) that the windows see of x ([B,] C, H, W), zeros in the padding."""
    seen = torch.where(windows.inside, windows.read(x), 0)  # (..., C, P, K)
    return seen.transpose(-2, -1).flatten(-3, -2)


def folded(columns: Tensor, windows: Windows) -> Tensor:
    """The image ([B,] C, H, W) in which each element is the sum of what columns ([B,] C K, P) hold at its places."""
    size = windows.index.shape[1]
    seen = columns.unflatten(-2, (columns.shape[-2] // size, size)).transpose(-2, -1)  # (..., C, P, K)
    return windows.add(torch.where(windows.inside, seen, 0))


class Unfold(Rule, functions=[F.unfold]):
    """y_(c k) p = x_c(s p + d k - padding), x ([B,] C, H, W), y ([B,] C K, P): a column for each place p.

    Derivation. y is linear in x: dx sums the dy of all columns that hold an element, which is `Fold`.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x = torch.randn(2, 3, 4, 5)
        yield case("square", x, 2)
        yield case("unbatched", x[0], (3, 2))
        yield case("dilation, padding, stride", x, (2, 3), (2, 1), (0, 2), (1, 2))
        yield case("stride wider than the kernel", x, 1, padding=1, stride=3)

    @staticmethod
    def forward(
        input: Tensor, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
    ) -> tuple[Tensor, Any]:
        windows = sliding(input, 2, kernel_size, stride, padding, dilation)
        return unfolded(input, windows), windows

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return folded(dy, cache)


class Fold(Rule, functions=[F.fold]):
    """y = the image of `output_size` that sums overlapping columns, x ([B,] C K, P), y ([B,] C, H, W).

    Derivation. y_c(j) = sum of x_(c k) p over all k, p with s p + d k - padding = j: each dx is the dy it was
    added to, and 0 for what fell into the padding, which is `Unfold`.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("square", torch.randn(2, 12, 6), (3, 4), 2)
        yield case("unbatched", torch.randn(6, 9), (4, 3), (2, 1), stride=(1, 1))
        yield case("dilation, padding, stride", torch.randn(2, 6, 8), (4, 5), (2, 3), (2, 1), (0, 2), (1, 2))
        yield case("stride wider than the kernel", torch.randn(1, 2, 4), 4, 1, padding=1, stride=3)

    @staticmethod
    def forward(
        input: Tensor,
        output_size: Sizes,
        kernel_size: Sizes,
        dilation: Sizes = 1,
        padding: Sizes = 0,
        stride: Sizes = 1,
    ) -> tuple[Tensor, Any]:
        height, width = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size or ())
        windows = sliding(input.new_empty(height, width), 2, kernel_size, stride, padding, dilation)
        return folded(input, windows), windows

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return unfolded(dy, cache)
