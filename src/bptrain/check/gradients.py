"""check_gradients: both passes over one batch, in float64 and in the model's own dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bptrain.check.local import check_calls, inexact
from bptrain.check.recording import Recording, record
from bptrain.check.report import CallReport, GradientReport
from bptrain.check.rounding import Stochastic
from bptrain.check.tolerance import GradientError, coarser, compare, roundoff
from bptrain.check.verdict import NUMERICAL, VERIFIED, failed, worst
from bptrain.reference.backprop import forward

Ends = dict[str, GradientError]


def check_gradients(
    model: Callable[..., Any],
    inputs: Tensor | tuple[Any, ...],
    targets: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    *,
    seed: int = 0,
    strict: bool = False,
) -> GradientReport:
    """Compares autograd's gradients of `model` on `inputs` with a backprop written by hand.

    `model` is any callable of tensors, an nn.Module usually; it is copied, so that it, its gradients and
    torch's generators stay as they are. `loss` is a callable of (output, targets); without one each
    output gets a random cotangent. A float64 copy gives the verdict on the mathematics, the model's own
    dtype the digits that rounding leaves. `strict` makes a call that nothing could verify count as wrong.
    """
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    generator = torch.Generator().manual_seed(seed)
    exact = record(model, given, targets, loss, torch.float64, seed)
    calls, ends, value = _verify(exact, generator)
    own = record(model, given, targets, loss, None, seed)
    if own.dtype is not torch.float64:
        own_calls, own_ends, value = _verify(own, generator)
        calls, ends = _join_calls(calls, own_calls), {n: _join(ends[n], own_ends[n]) for n in ends}
    parameters = {name: end for name, end in ends.items() if name not in exact.inputs}
    return GradientReport(
        calls, parameters, {n: e for n, e in ends.items() if n in exact.inputs}, value if loss else None, strict
    )


def _verify(recording: Recording, generator: torch.Generator) -> tuple[list[CallReport], Ends, GradientError]:
    calls = check_calls(recording, generator)
    ends, value = _end_to_end(recording, generator)
    return calls, ends, value


def _end_to_end(recording: Recording, generator: torch.Generator) -> tuple[Ends, GradientError]:
    """The reference runs the whole tape by itself and must get the same loss and the same gradients.

    In float64 it computes every value itself. In a coarser dtype it takes the recorded values, so that a
    unit near a kink stands on the same side, and chains the backward pass only.
    """
    teacher = recording.dtype is not torch.float64
    run = forward(recording.tape, torch.float64, teacher)
    seeds = {variable: seed.double() for variable, seed in recording.seeds.items()}
    unit, coarse = roundoff(recording.dtype), coarser(recording.dtype)
    rounded = []
    for _ in range(2):
        run.backward(seeds, Stochastic(unit, generator))
        rounded.append((run.gradients, 1.0))
    own = forward(recording.tape, coarse, teacher=True)
    own.backward({variable: seed.to(coarse) for variable, seed in recording.seeds.items()})
    rounded.append((own.gradients, unit / roundoff(coarse)))
    run.backward(seeds)
    # Errors of kernels add up on the way, and grow where gradients cancel.
    kernels = 100 * sum(inexact(call) for call in run.calls)
    ends = {}
    for name, theirs in recording.gradients.items():
        variable = recording.tape.leaves[name]
        ours = run.gradients.get(variable)
        if ours is None:
            ours = torch.zeros_like(recording.tape.values[variable], dtype=torch.float64)
        again = [(gradients[variable], share) for gradients, share in rounded if variable in gradients]
        error = compare(theirs, ours, again, recording.dtype, kernels)
        if variable in run.tainted and not failed(error.verdict):
            error = GradientError(error.error, error.explained, NUMERICAL)
        ends[name] = error
    values = [(recording.tape.values[v], run.value(v)) for v in seeds]
    losses = [compare(theirs, ours, [], recording.dtype, kernels) for theirs, ours in values]
    return ends, max(losses, key=lambda error: error.error, default=GradientError(0.0, 0.0, VERIFIED))


def _join(exact: GradientError, own: GradientError) -> GradientError:
    """The verdict of both recordings, with the error of the one that is wrong, else of the run's own dtype."""
    shown = exact if failed(exact.verdict) else own
    return GradientError(shown.error, shown.explained, worst([exact.verdict, own.verdict]))


def _join_calls(exact: list[CallReport], own: list[CallReport]) -> list[CallReport]:
    if [call.function for call in exact] != [call.function for call in own]:
        return exact + own  # the forward branches on dtype: both ways are reported
    joined = []
    for a, b in zip(exact, own, strict=True):
        names = dict.fromkeys([*a.gradients, *b.gradients])
        gradients = {
            n: _join(a.gradients[n], b.gradients[n]) if n in a.gradients and n in b.gradients
            else a.gradients.get(n) or b.gradients[n]
            for n in names
        }  # fmt: skip
        verdict = worst([a.verdict, b.verdict])
        joined.append(CallReport(a.function, a.path, a.source, verdict, gradients, a.arbiter or b.arbiter))
    return joined
