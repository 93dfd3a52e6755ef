"""The buffers of a model after a step: running statistics by hand, all others as a copy of the model has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bptrain.check.tolerance import GradientError, compare
from bptrain.check.verdict import CONTRACT, failed
from bptrain.reference.buffers import running_statistics
from bptrain.reference.call import Call
from bptrain.reference.tape import Tape

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
RECOMPUTED = (
    "the recomputation of torch.utils.checkpoint updates the statistics a second time, "
    "which makes 1 - (1 - m)^2 of a momentum m"
)
Buffers = dict[str, Tensor]


def compare_buffers(
    model: nn.Module, copied: nn.Module, before: Buffers, tapes: Iterable[Tape]
) -> dict[str, GradientError]:
    """How far each buffer of `model` is off, by name.

    `before` has the buffers before the step, `copied` those after what is on the tapes, in the same order. Statistics
    that both the model and the copy have updated twice are torch's contract, and no fault of an engine: what runs
    again in the backward pass is run whole (https://github.com/pytorch/pytorch/issues/96136).
    """
    made, others = [list(_normalizations(model, tape)) for tape in tapes], dict(copied.named_buffers())
    buffers, once = dict(model.named_buffers()), _Moved(model, before, made)
    errors = {name: once.compare(name, buffer, others[name]) for name, buffer in buffers.items()}
    wrong = [name for name in once.exact if failed(errors[name].verdict)]
    # Again in the order of the forward pass, where one checkpoint spans all, or in that of the backward pass.
    for by in (1, -1) if wrong else ():
        twice = _Moved(model, before, [step for calls in made for step in (calls, calls[::by])])
        for name in wrong:
            again, torchs = (twice.compare(name, buffer, buffer) for buffer in (buffers[name], others[name]))
            if not failed(again.verdict) and not failed(torchs.verdict):
                errors[name] = replace(again, verdict=CONTRACT, fault=RECOMPUTED)
    return errors


class _Moved:
    """What batches make of the running statistics, in float64 and in float32."""

    def __init__(self, model: nn.Module, before: Buffers, steps: list[list[tuple[str, Tensor]]]) -> None:
        self.exact, self.coarse = (_moved(model, before, steps, dtype) for dtype in (torch.float64, torch.float32))

    def compare(self, name: str, buffer: Tensor, other: Tensor) -> GradientError:
        """How far a buffer is off; from `other` where it holds no running statistic."""
        right = self.exact.get(name, other)
        again = [(self.coarse[name], 1.0)] if name in self.coarse else []
        if not buffer.is_floating_point():
            buffer, right = buffer.double(), right.double()
        return compare(buffer, right, lambda: again, buffer.dtype)


def _normalizations(model: nn.Module, tape: Tape) -> Iterator[tuple[str, Tensor]]:
    """Path and input of each batch normalization on the tape that updates its statistics."""
    modules = dict(model.named_modules())
    for call in _flat(tape.calls):
        norm = modules.get(call.path)
        if (
            call.function is F.batch_norm
            and isinstance(norm, nn.modules.batchnorm._BatchNorm)
            and norm.training
            and norm.running_mean is not None
        ):
            yield call.path, tape.values[call.inputs[0].variable]


def _flat(calls: Iterable[Call]) -> Iterator[Call]:
    """The calls, and those inside a custom autograd.Function, as a reentrant checkpoint is one."""
    for call in calls:
        yield call
        yield from _flat(call.inner)


def _moved(
    model: nn.Module, before: Buffers, steps: list[list[tuple[str, Tensor]]], dtype: torch.dtype
) -> dict[str, Tensor]:
    modules, found = dict(model.named_modules()), Buffers()
    for path, x in (call for calls in steps for call in calls):
        names = [f"{path}.{name}".removeprefix(".") for name in STATISTICS]
        mean, var, tracked = (found.get(name, before[name]) for name in names)
        momentum: float | None = modules[path].momentum
        made = running_statistics(x.to(dtype), mean.to(dtype), var.to(dtype), tracked, momentum)
        found |= dict(zip(names, made, strict=True))
    return found
