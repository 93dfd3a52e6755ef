"""The buffers of a model after a step: running statistics by hand, all others as a copy of the model has them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bptrain.check.tolerance import GradientError, compare
from bptrain.reference.buffers import running_statistics
from bptrain.reference.tape import Tape

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def compare_buffers(
    model: nn.Module, copied: nn.Module, before: dict[str, Tensor], tapes: Iterable[Tape]
) -> dict[str, GradientError]:
    """How far each buffer of `model` is off, by name.

    `before` has the buffers before the step, `copied` those after what is on the tapes, in the same order.
    """
    tapes, others = list(tapes), dict(copied.named_buffers())
    exact, coarse = (_moved(model, before, tapes, dtype) for dtype in (torch.float64, torch.float32))
    errors = {}
    for name, buffer in model.named_buffers():
        right = exact.get(name, others[name])
        again = [(coarse[name], 1.0)] if name in coarse else []
        if not buffer.is_floating_point():
            buffer, right = buffer.double(), right.double()
        errors[name] = compare(buffer, right, lambda again=again: again, buffer.dtype)  # type: ignore[misc]
    return errors


def _moved(model: nn.Module, before: dict[str, Tensor], tapes: list[Tape], dtype: torch.dtype) -> dict[str, Tensor]:
    """What the batches on the tapes make of the running statistics."""
    modules, found = dict(model.named_modules()), dict[str, Tensor]()
    for tape in tapes:
        for call in tape.calls:
            norm = modules.get(call.path)
            if (
                call.function is F.batch_norm
                and isinstance(norm, nn.modules.batchnorm._BatchNorm)
                and norm.training
                and norm.running_mean is not None
            ):
                x = tape.values[call.inputs[0].variable].to(dtype)
                names = [f"{call.path}.{name}".removeprefix(".") for name in STATISTICS]
                mean, var, tracked = (found.get(name, before[name]) for name in names)
                made = running_statistics(x, mean.to(dtype), var.to(dtype), tracked, norm.momentum)
                found |= dict(zip(names, made, strict=True))
    return found
