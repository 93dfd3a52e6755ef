"""Random numbers of a module, which come out alike whatever dtype it computes in.

torch draws other numbers in float32 than in float64. Here they are drawn in float64 (float32 where a device has no
more) and rounded, so that a check in float64 compares the same draws.
"""

from __future__ import annotations

import torch
from torch import Tensor


def normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """From N(0, 1), in the shape, in the dtype and on the device of `like`; None is torch's own generator."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=_finest(like)).to(like.dtype)


def bernoulli(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """1 with the probability that the sigmoid of the logit says, else 0."""
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=_finest(logits))
    return (uniform < logits.sigmoid()).to(logits.dtype)


def _finest(like: Tensor) -> torch.dtype:
    return torch.float32 if like.device.type == "mps" else torch.float64
