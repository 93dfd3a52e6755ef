"""TF32: products of float32 numbers that an NVIDIA GPU makes of 10 bits of their mantissa, and adds up in float32."""

from __future__ import annotations

from typing import Any

import torch

from bptrain.reference.call import Call
from bptrain.reference.rule import rule_for

ROUNDOFF = 2.0**-10  # of a number of 10 bits, where the others are cut off
SHARE = 0.25  # of what float32 is allowed for each unit of roundoff, as in half precision
DEVICES = ("cuda",)
MATRICES = "attention bilinear contraction distance linear linear_cross_entropy matrix_sum multi_head_attention".split()
MULTIPLYING: dict[str, Any] = {  # by module of rules, where torch is told how
    **dict.fromkeys(MATRICES, torch.backends.cuda.matmul),
    **dict.fromkeys(("convolution", "transposed_convolution"), torch.backends.cudnn.conv),  # type: ignore[attr-defined]
    **dict.fromkeys(("gru", "lstm", "rnn"), torch.backends.cudnn.rnn),
}


def multiplies_in_tf32(device: torch.device) -> bool:
    """Whether matrices of float32 on a device are multiplied so, as torch is set now."""
    return device.type in DEVICES and torch.backends.cuda.matmul.fp32_precision == "tf32"


def in_tf32(call: Call, dtype: torch.dtype) -> bool:
    """Whether a call in `dtype` multiplies in TF32, as torch is set now."""
    rule = rule_for(call.function)
    told = MULTIPLYING.get(rule.__module__.rpartition(".")[2]) if rule is not None else None
    if told is None or dtype is not torch.float32 or told.fp32_precision != "tf32":
        return False
    return any(gradient.device.type in DEVICES for gradient in call.output_gradients.values())
