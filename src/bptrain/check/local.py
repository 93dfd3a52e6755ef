"""The local pass: each rule gets what autograd saw at its call, so that one wrong call flags one call."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from bptrain.check import arbiter
from bptrain.check.recording import Recording
from bptrain.check.report import CallReport
from bptrain.check.rounding import Stochastic
from bptrain.check.tolerance import GradientError, coarser, compare, roundoff
from bptrain.check.verdict import NUMERICAL, REFERENCE_WRONG, UNVERIFIED, VERIFIED, WRONG, worst
from bptrain.reference.backprop import Evaluation, NoRule, evaluate
from bptrain.reference.call import Call, Input
from bptrain.reference.draws import repeated
from bptrain.reference.dtype import cast, inner
from bptrain.reference.rule import rule_for


def check_calls(recording: Recording, generator: torch.Generator) -> list[CallReport]:
    """A report on every call that autograd went back through."""
    return [_check(call, recording, generator) for call in recording.tape.calls if _took_part(call)]


def inexact(call: Call) -> float:
    """The relative error that torch's kernel is known to make in this call."""
    rule = rule_for(call.function)
    return rule.inexact if rule is not None else 0.0


def _took_part(call: Call) -> bool:
    return call.grad_mode and bool(call.wanted) and bool(call.output_gradients or call.input_gradients)


def _check(call: Call, recording: Recording, generator: torch.Generator) -> CallReport:
    values, dtype = recording.tape.values.__getitem__, recording.dtype
    if call.twice:
        reason = "differentiated inside the forward pass"
        return CallReport(call.name, call.path, call.source, UNVERIFIED, {}, reason)
    try:
        exact = evaluate(call, values, torch.float64)
    except NoRule as reason:
        return _by_differences(call, values, generator, str(reason))
    dy = {position: cast(gradient, torch.float64) for position, gradient in call.output_gradients.items()}
    ours = exact.pull(dy)
    rounding = Stochastic(roundoff(dtype), generator)
    rounded = [(rounding.around(call, exact)(dy), 1.0)]
    if rounding.shifts(call):
        rounded.append((evaluate(call, rounding.values(call, values), torch.float64).pull(dy), 1.0))
    coarse = coarser(dtype)
    again = evaluate(call, values, coarse).pull({p: cast(g, coarse) for p, g in call.output_gradients.items()})
    rounded.append((again, roundoff(dtype) / roundoff(coarse)))
    gradients, sayings = {}, []
    for position in sorted(call.wanted - call.shared):
        name, gradient = ours.get(position, (f"argument {position}", None))
        theirs = call.input_gradients.get(position)
        if gradient is None:
            if theirs is None:
                continue
            gradient = cast(torch.zeros_like(theirs), torch.float64)
        found = [(other.get(position, ("", None))[1], share) for other, share in rounded]
        error = compare(theirs, gradient, [(g, s) for g, s in found if g is not None], dtype, inexact(call))
        if error.verdict == WRONG:
            error, saying = _arbitrate(call, exact, values, position, theirs, gradient, error)
            sayings.append(saying)
        elif exact.unruled:
            error = replace(error, verdict=NUMERICAL)
        gradients[name] = error
    verdict = worst([error.verdict for error in gradients.values()] or [VERIFIED])
    return CallReport(call.name, call.path, call.source, verdict, gradients, "; ".join(dict.fromkeys(sayings)))


def _arbitrate(
    call: Call,
    exact: Evaluation,
    values: Callable[[int], Tensor],
    position: int,
    theirs: Tensor | None,
    ours: Tensor,
    error: GradientError,
) -> tuple[GradientError, str]:
    """Who is wrong about one gradient: differences of the rule's own forward tell."""
    if theirs is not None and (theirs.shape != ours.shape or not theirs.isfinite().all()):
        return error, "a gradient of another shape or not finite"
    if isinstance(call.function, type):  # a custom Function has no forward that could be run with other inputs
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
