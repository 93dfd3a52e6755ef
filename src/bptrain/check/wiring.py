"""Wiring: gradients that get lost or changed between calls that are each right by themselves.

What a call gets as the gradient of its result must be the sum of what the users of that result sent back, and
a parameter must end up with the sum over its uses. A hook that scales, a gradient counted twice or a tensor taken out
of the graph breaks this between two calls that can be named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bptrain.check.fault import fault
from bptrain.check.recording import Recording
from bptrain.check.tolerance import roundoff
from bptrain.reference.call import Call, Input
from bptrain.reference.dtype import cast, is_continuous
from bptrain.reference.effect import SET_DATA, is_in_place
from bptrain.reference.tape import Tape

FACTOR = 8  # so many roundings of the largest of the terms of a sum, for each term, are rounding


@dataclass(frozen=True)
class WiringFault:
    """What happens to a gradient on its way from the users of a tensor to what made it, or to a parameter."""

    users: tuple[str, ...]  # the calls that sent it back, with their lines
    maker: str  # the call, parameter or input that it goes to
    fault: str
    parameters: tuple[str, ...] = ()  # those whose gradient is cut there

    def __str__(self) -> str:
        return f"between {' and '.join(self.users) or 'the loss'} and {self.maker} {self.fault}"


@dataclass
class _Flow:
    """The calls that use a variable, the call that made it, its name as a parameter or input."""

    users: list[tuple[Call, int]] = field(default_factory=list)
    maker: tuple[Call, int] | None = None
    name: str = ""


def broken_links(recording: Recording) -> list[WiringFault]:
    """Where the gradient that arrives is not the sum of those that were sent, in the order of the backward pass."""
    found = []
    for variable, flow in sorted(_flows(recording.tape).items(), reverse=True):
        if any(position in call.shared or not call.wanted for call, position in flow.users):
            continue  # written to in place: one gradient stands for those of several uses
        sent = [call.input_gradients[p] for call, p in flow.users if p in call.input_gradients]
        sent += [recording.seeds[variable]] if variable in recording.seeds else []
        if flow.name:
            received = recording.gradients.get(flow.name)
        elif flow.maker is not None and flow.maker[0].differentiable:
            received = flow.maker[0].output_gradients.get(flow.maker[1])
        else:
            continue
        words = _differs(received, sent, recording.tape.values[variable])
        if words:
            users = tuple(where(call) for call, p in flow.users if p in call.input_gradients)
            found.append(WiringFault(users, flow.name or (where(flow.maker[0]) if flow.maker else ""), words))
    return found


def cuts(recording: Recording) -> list[WiringFault]:
    """Where a way from parameters to the loss leaves autograd's graph: by detach, `data` or under no_grad.

    A result that nothing on the tape uses counts only where a parameter has no gradient at all: it may be a figure to
    be shown, or it may have come back as a tensor that the tape took for a constant.
    """
    tape = recording.tape
    flows, matters = _flows(tape), _matters(tape, recording.seeds)
    missing = {name for name, gradient in recording.gradients.items() if gradient is None}
    targets = missing & recording.inputs  # as an input without a gradient may be
    missing -= targets
    differentiable = {o.variable for call in tape.calls if call.differentiable for o in call.outputs}
    differentiable |= set(tape.leaves.values())
    found: dict[tuple, WiringFault] = {}
    for call in tape.calls:
        outputs = [o.variable for o in call.outputs]
        entered = [x.variable for x in _way_out(call, tape, flows) if x.variable in differentiable]
        if not entered:
            continue
        behind = {name for variable in entered for name in _leaves_behind(variable, flows)} - targets
        lost = not any(flows[o].users for o in outputs)
        behind = behind & missing if lost else behind if any(o in matters for o in outputs) else set()
        if not behind:
            continue
        users = tuple(dict.fromkeys(where(user) for o in outputs for user, _ in flows[o].users))
        maker = flows[entered[0]].maker
        words = _how(call) + (", whose result leaves the tape's sight" if lost and outputs else "")
        fault = WiringFault(users, where(maker[0]) if maker else flows[entered[0]].name, words, tuple(sorted(behind)))
        found[fault.users, fault.maker, fault.fault] = fault
    return list(found.values())


def _way_out(call: Call, tape: Tape, flows: dict[int, _Flow]) -> list[Input]:
    """The inputs whose gradient a call does not pass on although their values matter to it."""
    name, outputs = call.name.rpartition(".")[2], [tape.values[o.variable] for o in call.outputs]
    if call.function == SET_DATA:  # which a parameter may be set anew with
        return call.inputs[:1] if flows[call.inputs[0].variable].maker is not None else []
    if call.differentiable or name.startswith("new_") or name.endswith("_like"):  # these take a shape alone
        return []
    if outputs and not any(is_continuous(value) for value in outputs):  # integers have no gradient
        return []
    if call.grad_mode:
        return [x for x in call.inputs if x.position in call.wanted]
    # A parameter that is set anew in place keeps the gradients of its later uses.
    return [] if is_in_place(call.function, call.args, call.kwargs) else call.inputs


def _how(call: Call) -> str:
    if call.function == SET_DATA:
        return f"{where(call)} writes past autograd"
    made = "" if call.grad_mode else ", made under no_grad"
    return f"no gradient passes {where(call)}{made}" + ("" if call.outputs else ", which makes a number of it")


def _matters(tape: Tape, seeds: Iterable[int]) -> set[int]:
    """The variables that the loss is made of, whether or not gradients pass."""
    found = set(seeds)
    for call in reversed(tape.calls):
        if any(o.variable in found for o in call.outputs):
            found.update(x.variable for x in call.inputs)
    return found


def _leaves_behind(variable: int, flows: dict[int, _Flow]) -> set[str]:
    """The parameters and inputs that a variable depends on by way of autograd's graph."""
    names, seen, next_ones = set(), set(), [variable]
    while next_ones:
        flow = flows[next_ones.pop()]
        if flow.name:
            names.add(flow.name)
        if flow.maker is not None and flow.maker[0].differentiable and flow.maker[0] not in seen:
            seen.add(flow.maker[0])
            next_ones += [x.variable for x in flow.maker[0].inputs if x.position in flow.maker[0].wanted]
    return names


def where(call: Call) -> str:
    """The call and its line, for a person."""
    return f"{call.name} at {call.source}" if call.source else call.name


def _flows(tape: Tape) -> dict[int, _Flow]:
    flows: dict[int, _Flow] = defaultdict(_Flow)
    for call in tape.calls:
        for x in call.inputs:
            flows[x.variable].users.append((call, x.position))
        for o in call.outputs:
            flows[o.variable].maker = (call, o.position)
    for name, variable in tape.leaves.items():
        flows[variable].name = name
    return flows


def _differs(received: Tensor | None, sent: list[Tensor], value: Tensor) -> str:
    """In words, how a gradient differs from the sum of what was sent; empty where it is that sum."""
    if (received is None and not sent) or (received is not None and len(sent) == 1 and torch.equal(received, sent[0])):
        return ""
    like = cast(torch.zeros_like(value), torch.float64)
    total = sum((cast(g, torch.float64) for g in sent), like)
    given = like if received is None else cast(received, torch.float64)
    terms = sum((cast(g, torch.float64).abs().max().item() for g in sent if g.numel()), 0.0)
    unit = max(roundoff(g.dtype) for g in [*sent, *([] if received is None else [received])])
    allowed = FACTOR * max(1, len(sent)) * unit * terms
    apart = (given - total).abs()
    if not apart.numel() or not (given.isfinite().all() and total.isfinite().all()) or apart.max().item() <= allowed:
        return ""
    return f"a gradient changes: {fault(received, total, allowed) or 'it is another one than was sent'}"
