"""Gradient clipping, by the norm of all gradients together and by value."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MARGIN = 1e-6  # torch adds it to the norm, so that a gradient of 0 is not divided by 0


def clip_by_norm(
    gradients: Sequence[Tensor], max_norm: float, norm_type: float = 2.0
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The gradients times the factor min(1, max_norm / (norm + 1e-6)), the norm before, and the factor.

    The norm is that of the norms of the gradients, which is the norm of all elements in one row; but for norm_type = 0,
    which counts what is not 0, it is how many gradients have one.
    Source: Pascanu, Mikolov and Bengio, arXiv 1211.5063 (2012), algorithm 1, where the factor is max_norm / norm, and
    https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html
    """
    total = norm(torch.stack([norm(g, norm_type) for g in gradients]), norm_type)
    factor = (max_norm / (total + MARGIN)).clamp(max=1.0)
    return [g * factor for g in gradients], total, factor


def clip_by_value(gradients: Sequence[Tensor], value: float) -> list[Tensor]:
    """Each element kept within [-value, value]."""
    return [g.clamp(-value, value) for g in gradients]


def norm(x: Tensor, p: float) -> Tensor:
    """(sum |x|^p)^(1/p); its limits max |x| at infinity, min |x| at minus infinity; for p = 0 what is not 0."""
    size = x.abs()
    if math.isinf(p):
        return size.max() if p > 0 else size.min()
    if p == 0:
        return (size > 0).to(x.dtype).sum()
    return size.pow(p).sum().pow(1 / p)
