"""explain: a step of training told call by call, with the numbers of the backprop written by hand, in float64."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from bptrain.check.optimizer import names_of
from bptrain.check.recording import record
from bptrain.check.update import slots, uncovered
from bptrain.errors import Problem, RequestError, RunFailed
from bptrain.reference.backprop import Evaluation, Pull, forward
from bptrain.reference.backprop import Run as Reference
from bptrain.reference.call import Call, Input
from bptrain.reference.clipping import clip_by_norm
from bptrain.reference.draws import Draws
from bptrain.reference.dtype import cast
from bptrain.reference.rule import bind, rule_for
from bptrain.reference.update import run_step, update_for
from bptrain.train.order import batches, permutation
from bptrain.train.run import Run


@dataclass(frozen=True)
class Value:
    """A tensor by name; a number or a word that a call was given besides has `words` alone."""

    name: str
    tensor: Tensor | None = None
    words: str = ""


@dataclass(frozen=True)
class Explained:
    """One call, on the way forward and on the way back.

    `formula` and `derivation` are those of its rule, "" without one. `gradients` are by argument, for each element of
    `outputs` there is one in `received`; both are empty where nothing went back.
    """

    function: str
    path: str
    source: str
    formula: str
    derivation: str
    inputs: list[Value]
    outputs: list[Value]
    received: list[Value]
    gradients: list[Value]


@dataclass(frozen=True)
class Adjusted:
    """A parameter before and after the step; `new` is None where the optimizer evaluates the loss several times."""

    name: str
    old: Tensor
    gradient: Tensor
    new: Tensor | None


@dataclass(frozen=True)
class Explanation:
    """A whole step. `apart` is the largest relative difference between autograd's gradients and the reference's.

    `update` is the optimizer's rule in words and formulas, `options` are its settings; `clip` is the factor by which
    all gradients are scaled down, 1 for none.
    """

    rows: int
    calls: list[Explained]
    loss: float
    apart: float
    optimizer: str
    update: str
    options: dict[str, Any]
    clip: float
    parameters: list[Adjusted]
    inputs: Tensor
    input_gradient: Tensor | None


def explain(run: Run, rows: int | None = None) -> Explanation:
    """The first step of a run, on its first batch or so many rows of it; the run stays as it is.

    RequestError when the batch has fewer, or the model can't take so few.
    """
    part, settings, model = run.dataset.parts["train"], run.settings, run.state.model
    order = permutation(len(part), settings.seed, 0).to(run.device)
    batch = batches(order, run.batch_size, settings.fit.drop_last)[0]
    if rows is not None and rows > len(batch):
        raise RequestError(Problem("rows", f"the first batch has {len(batch)}.", f"Write rows={len(batch)} or fewer."))
    batch = batch[:rows]
    inputs, targets = part.inputs[batch], part.targets[batch]
    try:
        recording = record(model, (inputs,), targets, run.loss, torch.float64, settings.seed, Draws.now())
    except ValueError as error:  # such as batch normalization of a single row
        raise RequestError(Problem("rows", f"the model can't take {len(batch)}: {error}", "Write more.")) from error
    (loss,) = (recording.tape.values[variable].item() for variable in recording.ends)
    reference, watch = forward(recording.tape, torch.float64), _Watch()
    if reference.cut:
        call = reference.cut[0]
        raise RunFailed(f"{call.name} at {call.source} can't be followed, so that the step can't be told.")
    gradients = reference.backward(recording.seeds, watch)
    named = {name: gradients.get(variable) for name, variable in recording.tape.leaves.items()}
    return Explanation(
        len(batch),
        [_explained(call, reference, watch) for call in reference.calls],
        loss,
        max((_apart(theirs, named[name]) for name, theirs in recording.gradients.items()), default=0.0),
        *_adjusted(run, named),
        inputs,
        named.get("input"),
    )


class _Watch:
    """Keeps what goes back through each call; nothing is rounded."""

    def __init__(self) -> None:
        self.received: dict[Call, dict[int, Tensor]] = {}
        self.sent: dict[Call, dict[int, tuple[str, Tensor | None]]] = {}

    def values(self, call: Call, values: Callable[[int], Tensor]) -> Callable[[int], Tensor]:
        return values

    def around(self, call: Call, evaluation: Evaluation) -> Pull:
        def pull(dy: dict[int, Tensor]) -> dict[int, tuple[str, Tensor | None]]:
            self.received[call], self.sent[call] = dy, evaluation.pull(dy)
            return self.sent[call]

        return pull


def _explained(call: Call, reference: Reference, watch: _Watch) -> Explained:
    formula, derivation = _told(rule_for(call.function))
    names = {o.position: f"y{o.position + 1}" if len(call.outputs) > 1 else "y" for o in call.outputs}
    received, sent = watch.received.get(call, {}), watch.sent.get(call, {})
    return Explained(
        call.name,
        call.path,
        call.source,
        formula,
        derivation,
        list(_inputs(call, reference)),
        [Value(names[o.position], reference.value(o.variable)) for o in call.outputs],
        [Value(f"d{names[position]}", gradient) for position, gradient in received.items()],
        [Value(f"d{name}", gradient) for name, gradient in sent.values() if gradient is not None],
    )


def _inputs(call: Call, reference: Reference) -> Iterator[Value]:
    """The arguments by the names that the rule gives them."""
    rule = rule_for(call.function)
    if rule is None:
        yield from (Value(f"argument {x.position}", reference.value(x.variable)) for x in call.inputs)
        return
    for name, slot in bind(rule, call.args, call.kwargs).items():
        flat = [slot] if isinstance(slot, Input) else tree_flatten(slot)[0]
        tensors = [x for x in flat if isinstance(x, Input)]
        for i, x in enumerate(tensors):
            yield Value(name if isinstance(slot, Input) else f"{name}[{i}]", reference.value(x.variable))
        if not tensors and slot is not None:
            yield Value(name, words=str(slot))


def _told(explained: type | None) -> tuple[str, str]:
    """The first sentence of a docstring, which states the formula, and all that follows it."""
    if explained is None:
        return "", ""
    formula, _, derivation = (inspect.getdoc(explained) or "").partition("\n")
    return formula, derivation.strip("\n")


def _apart(theirs: Tensor | None, ours: Tensor | None) -> float:
    if theirs is None or ours is None:
        return 0.0 if theirs is ours else float("inf")
    size = ours.abs().max().item() if ours.numel() else 0.0
    return (theirs - ours).abs().max().item() / (size or 1.0) if ours.numel() else 0.0


def _adjusted(run: Run, gradients: dict[str, Tensor | None]) -> tuple[str, str, dict[str, Any], float, list[Adjusted]]:
    """The optimizer's name, rule and options, the factor of clipping, and what the step makes of each parameter."""
    optimizer, named = run.state.optimizer, dict(run.state.model.named_parameters())
    update, names = update_for(type(optimizer)), names_of(optimizer, named.items())
    present = {name: g for name, g in gradients.items() if name in named and g is not None}
    factor = 1.0
    if run.settings.fit.clip is not None and present:
        clipped, _, scale = clip_by_norm(list(present.values()), run.settings.fit.clip)
        present, factor = dict(zip(present, clipped, strict=True)), scale.item()
    known = update is not None and not update.closure and not uncovered(optimizer, update)
    new: dict[str, Tensor] = {}
    options: dict[str, Any] = {k: v for k, v in optimizer.param_groups[0].items() if k in optimizer.defaults}
    if update is not None and known:
        for slot in slots(optimizer, update, names):
            options, (name,) = slot.options, slot.names
            if name in present:
                ((new[name],), _) = run_step(
                    update, (cast(slot.parameters[0], torch.float64),), present[name], {}, slot.options
                )
    words = "\n".join(filter(None, _told(update)))
    parameters = [
        Adjusted(name, cast(named[name].detach(), torch.float64), gradient, new.get(name))
        for name, gradient in present.items()
    ]
    return type(optimizer).__name__, words, options, factor, parameters
