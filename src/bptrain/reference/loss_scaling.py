"""Loss scaling: gradients too small for a half-precision dtype, kept by a factor on the loss.

The gradients of s L are s times those of L, and dividing by a power of two is exact as long as nothing underflows or
overflows. s is as large as it can be: it grows after some steps without overflow, and shrinks after one with.
Source: Micikevicius et al., arXiv 1710.03740 (2017), section 3.2; https://docs.pytorch.org/docs/stable/amp.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def unscale(gradients: Sequence[Tensor], scale: float) -> tuple[list[Tensor], bool]:
    """The gradients over `scale`, and whether all were finite: if not, the step is not to be taken."""
    finite = all(bool(torch.isfinite(g).all()) for g in gradients)
    return [g / scale for g in gradients], finite


def next_scale(
    scale: float,
    clean: int,
    finite: bool,
    *,
    growth_factor: float = 2.0,
    backoff_factor: float = 0.5,
    growth_interval: int = 2000,
) -> tuple[float, int]:
    """The scale for the next step, and how many steps in a row have been finite since it last changed.

    A scale that float32 can't hold is not grown into.
    """
    if not finite:
        return scale * backoff_factor, 0
    if clean + 1 < growth_interval:
        return scale, clean + 1
    grown = scale * growth_factor
    return (grown if math.isfinite(torch.tensor(grown, dtype=torch.float32).item()) else scale), 0
