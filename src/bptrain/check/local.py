"""The local pass: each rule gets what autograd saw at its call, so that one wrong call flags one call."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from bptrain.check import arbiter
from bptrain.check.autocast import Autocast
from bptrain.check.recording import Recording
from bptrain.check.report import CallReport
from bptrain.check.reproduction import Evidence, evidence
from bptrain.check.rounding import Stochastic
from bptrain.check.tf32 import SHARE, in_tf32
from bptrain.check.tolerance import GradientError, coarser, compare, roundoff
from bptrain.check.verdict import CONTRACT, NUMERICAL, REFERENCE_WRONG, UNVERIFIED, VERIFIED, WRONG, failed, worst
from bptrain.reference.backprop import Evaluation, NoRule, Run, evaluate
from bptrain.reference.call import Call, Input
from bptrain.reference.draws import repeated
from bptrain.reference.dtype import cast, inner
from bptrain.reference.rule import rule_for

# A half-precision gradient that is off by more than so many units of roundoff is looked at for what rounding
# its inputs and its result alone would do.
SUSPICIOUS = 4
_RECURRENT = (torch.rnn_tanh, torch.rnn_relu, torch.gru, torch.lstm)
RECURRENT = 8  # units of roundoff


def check_calls(recording: Recording, run: Run, generator: torch.Generator) -> dict[Call, CallReport]:
    """A report on every call that autograd went back through. `run` is the reference's own way through the tape."""
    return {call: _check(call, recording, run, generator) for call in recording.tape.calls if _took_part(call)}


def inexact(call: Call, dtype: torch.dtype = torch.float64) -> float:
    """The relative error that torch's kernel is known to make in this call.

    Kernels of recurrent layers keep what they sum over time steps in the dtype itself: in half precision that adds up.
    A custom autograd.Function without a rule has the errors of the calls inside.
    """
    rule = rule_for(call.function)
    if rule is None:
        return sum(inexact(inner, dtype) for inner in call.inner)
    return (
        max(rule.inexact, RECURRENT * roundoff(dtype)) if call.function in _RECURRENT and _half(dtype) else rule.inexact
    )


def _half(dtype: torch.dtype) -> bool:
    return torch.finfo(dtype).bits < 32


def _took_part(call: Call) -> bool:
    return call.grad_mode and bool(call.wanted) and bool(call.output_gradients or call.input_gradients)


def _check(call: Call, recording: Recording, run: Run, generator: torch.Generator) -> CallReport:
    values = recording.tape.values.__getitem__
    if call.twice:
        reason = "differentiated inside the forward pass"
        return CallReport(call.name, call.path, call.source, UNVERIFIED, {}, reason)
    evaluation = run.evaluations.get(call)
    try:
        if call in run.reasons:
            raise NoRule(run.reasons[call])
        if evaluation is None:
            evaluation = evaluate(call, values, torch.float64)
    except NoRule as reason:
        return _by_differences(call, values, generator, str(reason))
    errors, ours = _compared(call, recording, evaluation, generator)
    if not run.teacher and any(failed(error.verdict) for _, error in errors.values()):
        # What the reference itself computed before may differ: that is another call's fault.
        evaluation = evaluate(call, values, torch.float64)
        errors, ours = _compared(call, recording, evaluation, generator)
    if call.autocast and run.teacher and any(failed(error.verdict) for _, error in errors.values()):
        # A function made of others, such as a GRU, may be cast inside, while its inputs and results are not.
        errors, ours = _compared(call, recording, evaluation, generator, call.autocast)
    contract, kinks = evaluation.conventions()
    gradients, sayings = {}, []
    for position, (name, error) in errors.items():
        if failed(error.verdict):
            theirs = call.input_gradients.get(position)
            error, saying = _arbitrate(call, values, position, theirs, ours[position], error)
            sayings.append(saying)
        elif evaluation.unruled:
            error = replace(error, verdict=worst([NUMERICAL, error.verdict]))
        elif contract and error.verdict == VERIFIED:
            error = replace(error, verdict=CONTRACT)
        gradients[name] = error
    verdict = worst([error.verdict for error in gradients.values()] or [VERIFIED])
    if verdict == CONTRACT:
        sayings.append(contract)
    shown: Evidence | None = None
    if failed(verdict):
        wrong = {p: (name, ours[p]) for p, (name, _) in errors.items() if failed(gradients[name].verdict)}
        shown = evidence(call, values, wrong, Autocast.of(call.autocast))
    saying = "; ".join(dict.fromkeys(sayings))
    return CallReport(call.name, call.path, call.source, verdict, gradients, saying, kinks, shown)


def _compared(
    call: Call,
    recording: Recording,
    exact: Evaluation,
    generator: torch.Generator,
    inside: torch.dtype | None = None,
) -> tuple[dict[int, tuple[str, GradientError]], dict[int, Tensor]]:
    """By position of the input, the argument's name and how far its gradient is off; and the reference's gradient.

    `inside` is the dtype that the call computes in where its inputs and results don't show it.
    """
    values, dtype = recording.tape.values.__getitem__, inside or recording.dtype_of(call)
    dy = {position: cast(gradient, torch.float64) for position, gradient in call.output_gradients.items()}
    ours = exact.pull(dy)
    rounding, coarse = Stochastic(recording, generator), coarser(dtype)

    @functools.cache
    def moved() -> dict[int, tuple[str, Tensor | None]]:
        return rounding.around(call, exact)(dy)

    @functools.cache
    def shifted() -> dict[int, tuple[str, Tensor | None]]:
        return evaluate(call, rounding.values(call, values), torch.float64).pull(dy)

    @functools.cache
    def rounded() -> dict[int, tuple[str, Tensor | None]]:
        stored = {p: cast(g, coarse) for p, g in call.output_gradients.items()}
        return evaluate(call, values, coarse).pull(stored)

    share = SHARE if in_tf32(call, dtype) else 1.0
    scaled = share * roundoff(dtype) / roundoff(coarse)
    ways = [(moved, share), *[(shifted, share)] * rounding.shifts(call), (rounded, scaled)]

    errors, references = {}, {}
    for position in sorted(call.wanted - call.shared):
        name, gradient = ours.get(position, (f"argument {position}", None))
        theirs = call.input_gradients.get(position)
        if gradient is None:
            if theirs is None:
                continue
            gradient = cast(torch.zeros_like(theirs), torch.float64)

        def reruns(position: int = position) -> Iterator[tuple[Tensor, float]]:
            for way, share in ways:
                again = way().get(position, ("", None))[1]
                if again is not None:
                    yield again, share

        error = compare(theirs, gradient, reruns, dtype, inexact(call, dtype))
        if _half(dtype) and SUSPICIOUS * roundoff(dtype) < error.error < math.inf:
            error = replace(error, excess=_excess(call, values, position, gradient, error, dtype))
        errors[position], references[position] = (name, error), gradient
    return errors, references


def _excess(
    call: Call, values: Callable[[int], Tensor], position: int, ours: Tensor, error: GradientError, dtype: torch.dtype
) -> float:
    """Digits lost beyond those that rounding the inputs and the result alone loses, all between in float32."""
    stored = evaluate(call, lambda v: cast(values(v), dtype), torch.float32)
    found = stored.pull({p: cast(g, torch.float32) for p, g in call.output_gradients.items()})[position][1]
    if found is None:
        return 0.0
    least = compare(cast(found, dtype), ours, None, dtype).error
    return max(0.0, math.log10(error.error / max(least, roundoff(dtype))))


def _arbitrate(
    call: Call,
    values: Callable[[int], Tensor],
    position: int,
    theirs: Tensor | None,
    ours: Tensor,
    error: GradientError,
) -> tuple[GradientError, str]:
    """Who is wrong about one gradient: differences of the rule's own forward tell."""
    if theirs is not None and (theirs.shape != ours.shape or not theirs.isfinite().all()):
        return error, "a gradient of another shape or not finite"
    # A custom Function has no forward that could be run with other inputs.
    if isinstance(call.function, type) and rule_for(call.function) is None:
        return error, "the chain rule of its own forward disagrees"
    variable = next(x.variable for x in call.inputs if x.position == position)
    dy = {p: cast(g, torch.float64) for p, g in call.output_gradients.items()}

    def objective(x: Tensor) -> float:
        replaced = evaluate(call, lambda v: x if v == variable else values(v), torch.float64)
        return sum(inner(dy[p], replaced.outputs[p]) for p in dy)

    uses = sum(x.variable == variable for x in call.inputs)
    if uses > 1 or not ours.isfinite().all():
        return error, "differences can't tell the arguments apart"
    right = arbiter.decide(objective, cast(values(variable), torch.float64), ours, _or_zero(theirs, ours))
    if right == "autograd":
        return replace(error, verdict=REFERENCE_WRONG), "differences agree with autograd"
    return error, "differences agree with the reference" if right == "reference" else "differences can't decide"


def _or_zero(gradient: Tensor | None, like: Tensor) -> Tensor:
    return cast(gradient, torch.float64) if gradient is not None else torch.zeros_like(like)


def _by_differences(call: Call, values: Callable[[int], Tensor], generator: torch.Generator, reason: str) -> CallReport:
    """A call that no rule covers: the function itself in float64, moved along random directions."""
    gradients = {}
    # A custom Function has no forward to call again, and an assignment to places returns nothing to compare.
    if not isinstance(call.function, type) and call.function is not Tensor.__setitem__:
        for position in sorted(call.wanted - call.shared):
            variable = next(x.variable for x in call.inputs if x.position == position)
            theirs = call.input_gradients.get(position)
            like = cast(values(variable), torch.float64)
            found = arbiter.agrees(_objective(call, values, position), like, _or_zero(theirs, like), generator)
            verdict = UNVERIFIED if found is None else NUMERICAL if found < 1e-3 else WRONG
            gradients[f"argument {position}"] = GradientError(math.nan if found is None else found, 1e-3, verdict)
    verdict = worst(error.verdict for error in gradients.values())
    return CallReport(call.name, call.path, call.source, verdict, gradients, reason)


def _objective(call: Call, values: Callable[[int], Tensor], position: int) -> Callable[[Tensor], float]:
    def objective(x: Tensor) -> float:
        def value(slot: object) -> object:
            if not isinstance(slot, Input):
                return slot
            return x.clone() if slot.position == position else cast(values(slot.variable), torch.float64)

        args, kwargs = tree_map(value, (call.args, call.kwargs))
        with torch.no_grad(), repeated(call.draws):
            y = [t for t in tree_flatten(call.function(*args, **kwargs))[0] if isinstance(t, Tensor)]
        return sum(inner(cast(g, torch.float64), cast(y[p], torch.float64)) for p, g in call.output_gradients.items())

    return objective
