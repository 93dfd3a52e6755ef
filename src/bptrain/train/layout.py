"""Layout: in which order the values of an image lie in memory."""

from __future__ import annotations

import torch
from torch import nn

from bptrain.train.precision import Precision


def channels_last(model: nn.Module, device: torch.device, precision: Precision) -> None:
    """On a CPU, has 2-d convolutions keep their weights with channels last, and so give such images to what follows.

    Values and shapes are the same, and sums are rounded in another order. Eager steps of three small CNNs took 0.5 to
    0.95 of the time on a CPU with AVX-512; other devices have not been measured, and are left as they are. Not with
    batch normalization but in bf16: torch's kernel for this layout adds up its statistics one after the other in
    float32, and loses two digits of gradients over 25,600 values.
    https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
    """
    modules = list(model.modules())
    inexact = precision != "bf16" and any(isinstance(module, nn.BatchNorm2d) for module in modules)
    if device.type != "cpu" or inexact:
        return
    for module in modules:
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
