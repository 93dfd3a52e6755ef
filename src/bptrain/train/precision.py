"""Precision: what parameters and data are kept in, and what forward pass and loss are computed in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp64"]


def casts(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context to run model and loss in, to be entered again and again: torch.autocast under bf16.

    The backward pass stays outside, as https://docs.pytorch.org/docs/stable/amp.html recommends. bfloat16 has the
    range of float32, so that no gradient needs a scaled loss.
    """
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def dtype(precision: Precision) -> torch.dtype:
    """The dtype of parameters, data and losses."""
    return torch.float64 if precision == "fp64" else torch.float32
