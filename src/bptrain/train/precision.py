"""Precision: what parameters and data are kept in, and what forward pass and loss are computed in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from bptrain.errors import Problem, RequestError

Precision = Literal["fp32", "tf32", "bf16", "fp64"]


def casts(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context to run model and loss in, to be entered again and again: torch.autocast under bf16.

    The backward pass stays outside, as https://docs.pytorch.org/docs/stable/amp.html recommends. bfloat16 has the
    range of float32, so that no gradient needs a scaled loss.
    """
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def dtype(precision: Precision) -> torch.dtype:
    """The dtype of parameters, data and losses."""
    return torch.float64 if precision == "fp64" else torch.float32


def multiply(precision: Precision, device: torch.device) -> None:
    """Has NVIDIA GPUs multiply float32 in TF32 under tf32, else as float32, in convolutions too, where cuDNN would not.

    That holds for the process until the next run on a GPU sets it. RequestError for tf32 on a device that has none:
    torch takes the word on any CPU, and computes in float32.
    https://docs.pytorch.org/docs/stable/notes/cuda.html#tensorfloat-32-tf32-on-ampere-and-later-devices
    """
    coarse = precision == "tf32"
    if coarse and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        what = f"is a format of NVIDIA GPUs, Ampere and later, and this run is on {device}."
        raise RequestError(Problem("precision", f"tf32 {what}", "Write precision=fp32, or device=cuda on such a GPU."))
    if device.type != "cuda":
        return
    # What stood for this before torch 2.9 must say the same: parts of torch still read it, and fail where it does not.
    torch.set_float32_matmul_precision("high" if coarse else "highest")
    torch.backends.cudnn.allow_tf32 = coarse
    torch.backends.cuda.matmul.fp32_precision = "tf32" if coarse else "ieee"
    for layers in ("conv", "rnn"):
        getattr(torch.backends.cudnn, layers).fp32_precision = "tf32" if coarse else "ieee"
