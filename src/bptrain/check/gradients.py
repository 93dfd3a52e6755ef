"""check_gradients: both passes over one batch, in float64 and in the model's own dtype."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bptrain.check.autocast import Autocast
from bptrain.check.compiled import check_compiled, eager, eagerly, is_compiled
from bptrain.check.end_to_end import Ends, EndToEnd
from bptrain.check.local import check_calls
from bptrain.check.recording import Recording, record
from bptrain.check.report import CallReport, GradientReport
from bptrain.check.tolerance import GradientError
from bptrain.check.verdict import CONTRACT, PROVED, UNVERIFIED, failed, worst
from bptrain.check.wiring import WiringFault, broken_links, cuts


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
    dtype the digits that rounding leaves; under torch.autocast that is the dtype it casts to. What torch.compile made
    runs eagerly for this, and once more compiled. `strict` makes a call that nothing could verify count as wrong.
    """
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    generator, autocast, compiled = torch.Generator().manual_seed(seed), Autocast.now(), is_compiled(model, loss)
    with autocast.off():
        with eagerly(compiled):
            exact = record(eager(model), given, targets, eager(loss), torch.float64, seed)
            own = record(eager(model), given, targets, eager(loss), None, seed, autocast=autocast)
            report = check_recorded(exact, own, generator, strict)
        if not compiled or not report.finite or not report.ok:  # else the model is at fault, however it runs
            return report
        return replace(report, compiled=check_compiled(model, given, targets, loss, seed, exact, own, autocast))


def check_recorded(
    exact: Recording, own: Recording, generator: torch.Generator, strict: bool = False
) -> GradientReport:
    """The report on two recordings of one model and batch, in float64 and in its own dtype."""
    if not all(own.tape.values[variable].isfinite().all() for variable in own.seeds):
        nothing = GradientError(math.nan, 0.0, UNVERIFIED)
        return GradientReport([], dict.fromkeys(own.gradients, nothing), finite=False, strict=strict)
    calls, ends, value, wiring, truth = _verify(exact, generator)
    if own.dtype is not torch.float64:
        # The loss is judged in float64: the other recording takes its values as they are.
        own_calls, own_ends, _, own_wiring, _ = _verify(own, generator, truth)
        calls, ends = _join_calls(calls, own_calls), {n: _join(ends[n], own_ends.get(n, ends[n])) for n in ends}
        wiring = wiring or own_wiring
    return GradientReport(
        calls=calls,
        parameters={name: end for name, end in ends.items() if name not in exact.inputs},
        inputs={name: end for name, end in ends.items() if name in exact.inputs},
        output=value,
        wiring=wiring,
        strict=strict,
    )


def _verify(
    recording: Recording, generator: torch.Generator, truth: dict[str, Tensor] | None = None
) -> tuple[list[CallReport], Ends, GradientError, list[WiringFault], dict[str, Tensor]]:
    whole = EndToEnd.of(recording, generator, truth)
    found = check_calls(recording, whole.run, generator)
    links = functools.cache(partial(broken_links, recording))

    def sound() -> bool:
        proved = all(report.verdict in PROVED for report in found.values())
        return proved and not recording.tape.holes and not whole.run.cut and not links()

    ends, value = whole.compare(sound)
    wiring = list(links()) if any(failed(end.verdict) for end in (*ends.values(), value)) else []
    # What was met without having been seen to be made stands in the list too.
    calls = list(found.values()) + [
        CallReport(hole.node, hole.path, hole.source, UNVERIFIED, {}, "made out of the tape's sight")
        for hole in recording.tape.holes.values()
    ]
    for fault in cuts(recording):
        wiring.append(fault)
        for name in fault.parameters:
            ends[name] = _cut(ends[name], fault, recording.gradients[name] is None)
    return calls, ends, value, wiring, {} if truth is not None else whole.known()


def _cut(end: GradientError, fault: WiringFault, missing: bool) -> GradientError:
    """A gradient of which a part, or all, is cut off: whether on purpose or by mistake nobody can tell."""
    if missing:
        return replace(end, verdict=worst([UNVERIFIED, end.verdict]), fault=f"it is cut {fault}")
    if end.verdict in PROVED:
        return replace(end, verdict=CONTRACT, fault=end.fault or f"a part of it is cut {fault}")
    return replace(end, fault=end.fault or f"it is cut {fault}")


def _join(exact: GradientError, own: GradientError) -> GradientError:
    """The verdict of both recordings, with the error of the one that is wrong, else of the run's own dtype."""
    shown = exact if failed(exact.verdict) else own
    return replace(shown, verdict=worst([exact.verdict, own.verdict]), expected=own.expected)


def _join_calls(exact: list[CallReport], own: list[CallReport]) -> list[CallReport]:
    if [call.function for call in exact] != [call.function for call in own]:
        return exact + own  # the forward branches on dtype: both ways are reported
    joined = []
    for a, b in zip(exact, own, strict=True):
        gradients = {
            n: _join(a.gradients[n], b.gradients[n]) if n in a.gradients and n in b.gradients
            else a.gradients.get(n) or b.gradients[n]
            for n in dict.fromkeys([*a.gradients, *b.gradients])
        }  # fmt: skip
        shown = a if failed(a.verdict) else b
        verdict = worst([a.verdict, b.verdict])
        joined.append(replace(shown, verdict=verdict, gradients=gradients, arbiter=a.arbiter or b.arbiter))
    return joined
