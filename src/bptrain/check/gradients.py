"""check_gradients: both passes over one batch, in float64 and in the model's own dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bptrain.check.local import check_calls, inexact
from bptrain.check.recording import Recording, record
from bptrain.check.report import CallReport, GradientReport
from bptrain.check.rounding import Stochastic
from bptrain.check.tolerance import GradientError, coarser, compare, roundoff
from bptrain.check.verdict import NUMERICAL, UNVERIFIED, failed, worst
from bptrain.reference.backprop import forward
from bptrain.reference.dtype import cast

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
    if not all(own.tape.values[variable].isfinite().all() for variable in own.seeds):
        nothing = GradientError(math.nan, 0.0, UNVERIFIED)
        return GradientReport([], dict.fromkeys(own.gradients, nothing), finite=False, strict=strict)
    if own.dtype is not torch.float64:
        # The loss is judged in float64: the other recording takes its values as they are.
        own_calls, own_ends, _ = _verify(own, generator)
        calls, ends = _join_calls(calls, own_calls), {n: _join(ends[n], own_ends.get(n, ends[n])) for n in ends}
    return GradientReport(
        calls=calls,
        parameters={name: end for name, end in ends.items() if name not in exact.inputs},
        inputs={name: end for name, end in ends.items() if name in exact.inputs},
        output=value,
        strict=strict,
    )


def _verify(recording: Recording, generator: torch.Generator) -> tuple[list[CallReport], Ends, GradientError]:
    calls = check_calls(recording, generator)
    # What was met without having been seen to be made stands in the list too.
    calls += [
        CallReport(hole.node, hole.path, hole.source, UNVERIFIED, {}, "made out of the tape's sight")
        for hole in recording.tape.holes.values()
    ]
    ends, value = _end_to_end(recording, generator)
    return calls, ends, value


def _end_to_end(recording: Recording, generator: torch.Generator) -> tuple[Ends, GradientError]:
    """The reference runs the whole tape by itself and must get the same loss and the same gradients.

    In float64 it computes every value itself. In a coarser dtype it takes the recorded values, so that a
    unit near a kink stands on the same side, and chains the backward pass only.
    """
    teacher = recording.dtype is not torch.float64
    run = forward(recording.tape, torch.float64, teacher)
    seeds = {variable: cast(seed, torch.float64) for variable, seed in recording.seeds.items()}
    unit, coarse = roundoff(recording.dtype), coarser(recording.dtype)
    rounded = []
    rounding = Stochastic(unit, generator)
    shifted = forward(recording.tape, torch.float64, teacher, rounding) if any(map(rounding.shifts, run.calls)) else run
    for other in (run, shifted):
        other.backward(seeds, rounding)
        rounded.append((other.gradients, 1.0))
    own = forward(recording.tape, coarse, teacher)
    own.backward({variable: cast(seed, coarse) for variable, seed in recording.seeds.items()})
    rounded.append((own.gradients, unit / roundoff(coarse)))
    run.backward(seeds)
    # Errors of kernels add up on the way, and grow where gradients cancel.
    kernels = 100 * sum(inexact(call) for call in run.calls)
    lost = any(variable in run.gradients for variable in recording.tape.holes) or any(
        output.variable in run.gradients for call in run.cut if call.wanted for output in call.outputs
    )
    used = {x.variable for call in recording.tape.calls for x in call.inputs}
    ends = {}
    for name, theirs in recording.gradients.items():
        variable = recording.tape.leaves[name]
        ours = run.gradients.get(variable)
        if theirs is None and ours is None and variable in used:
            # A parameter is cut off on purpose (detach, no_grad) or by mistake: who knows. An input may be a target.
            if name not in recording.inputs:
                ends[name] = GradientError(math.nan, 0.0, UNVERIFIED)
            continue
        if ours is None:
            ours = cast(torch.zeros_like(recording.tape.values[variable]), torch.float64)
        again = [(gradients[variable], share) for gradients, share in rounded if variable in gradients]
        error = compare(theirs, ours, again, recording.dtype, kernels)
        if lost and failed(error.verdict):
            error = replace(error, verdict=UNVERIFIED)
        elif variable in run.tainted and not failed(error.verdict):
            error = replace(error, verdict=worst([NUMERICAL, error.verdict]))
        ends[name] = error
    share = unit / roundoff(coarse)
    values = []
    for v in seeds:
        again = [(own.value(v), share), (shifted.value(v), 1.0)]
        values.append(compare(recording.tape.values[v], run.value(v), again, recording.dtype, kernels))
    value = max(values, key=lambda error: (failed(error.verdict), error.error))
    return ends, replace(value, verdict=UNVERIFIED) if lost and failed(value.verdict) else value


def _join(exact: GradientError, own: GradientError) -> GradientError:
    """The verdict of both recordings, with the error of the one that is wrong, else of the run's own dtype."""
    shown = exact if failed(exact.verdict) else own
    return replace(shown, verdict=worst([exact.verdict, own.verdict]))


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
