"""Precision: what forward pass and loss are computed in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]


def casts(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context to run model and loss in, to be entered again and again: torch.autocast under bf16.

    The backward pass stays outside, as https://docs.pytorch.org/docs/stable/amp.html recommends. bfloat16 has the
    range of float32, so that no gradient needs a scaled loss.
    """
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, torch.bfloat16)
