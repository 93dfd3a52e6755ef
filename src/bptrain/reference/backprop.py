"""Runs a tape backwards with the rules: the reference backprop, independent of autograd.

Reverse accumulation (Linnainmaa 1970; Rumelhart, Hinton and Williams 1986): with dv = dL/dv for
every variable v, a call y = f(a, b) adds  J_a^T dy  to da and  J_b^T dy  to db. The rules give
these products; here they are only chained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from bptrain.reference.call import Call, Input
from bptrain.reference.draws import repeated
from bptrain.reference.dtype import cast, is_continuous
from bptrain.reference.rule import Rule, bind, conventions, rule_for, run_backward, run_forward
from bptrain.reference.tape import Tape


class NoRule(Exception):
    """No hand-written rule covers a call; the message says why."""


Pull = Callable[[dict[int, Tensor]], dict[int, tuple[str, Tensor | None]]]


@dataclass
class Evaluation:
    """A call evaluated by the reference: its outputs by position, and its way back.

    pull(dy) takes the gradients of the outputs by position and returns, by position of the input,
    the name of the argument and its gradient (None where the rule has none). conventions() gives the rule's
    `contract` and its number of `kinks`. `unruled` says that something without a rule was differentiated by
    autograd on the way.
    """

    outputs: dict[int, Tensor]
    pull: Pull
    conventions: Callable[[], tuple[str, int]] = lambda: ("", 0)
    unruled: bool = False


def evaluate(call: Call, values: Callable[[int], Tensor], dtype: torch.dtype) -> Evaluation:
    """The call in `dtype` on the given values of its variables. Raises NoRule."""
    rule = rule_for(call.function)
    if rule is None:
        if isinstance(call.function, type) and issubclass(call.function, torch.autograd.Function):
            return _evaluate_custom(call, values, dtype)
        raise NoRule(f"no rule for {call.name}")

    def value(x: Any) -> Any:
        return cast(values(x.variable), dtype) if isinstance(x, Input) else x

    try:
        slots = bind(rule, call.args, call.kwargs)
        if not rule.complex and any(values(x.variable).is_complex() for x in call.inputs):
            raise TypeError("it is for real numbers")
        bound = tree_map(value, slots)
        y, cache = run_forward(rule, bound, _again(call, values, dtype))
    except (TypeError, RuntimeError, IndexError, ZeroDivisionError) as reason:
        raise NoRule(f"the rule for {call.name} does not cover this call: {reason}") from reason
    flat = tree_flatten(y)[0]

    def pull(dy: dict[int, Tensor]) -> dict[int, tuple[str, Tensor | None]]:
        tree = _like(y, [dy.get(i) for i in range(len(flat))])
        return _by_position(rule, slots, run_backward(rule, cache, tree))

    return Evaluation(dict(enumerate(flat)), pull, partial(conventions, rule, bound))


def _like(y: Any, gradients: list[Tensor | None]) -> Any:
    """`gradients` in the structure of `y`, zeros where an output got none."""
    position = iter(gradients)

    def fill(output: Any) -> Any:
        given = next(position)
        return given if given is not None else torch.zeros_like(output)

    return tree_map(fill, y)


def _again(call: Call, values: Callable[[int], Tensor], dtype: torch.dtype) -> Callable:
    """Repeats the call, or calls `function`, with other arguments in the dtype it was recorded in, under its draws."""
    recorded = next((v.dtype.to_real() for v in (values(x.variable) for x in call.inputs) if is_continuous(v)), dtype)

    def again(*args: Any, function: Callable = call.function, **kwargs: Any) -> Any:
        args, kwargs = tree_map(lambda x: cast(x, recorded) if isinstance(x, Tensor) else x, (args, kwargs))
        with torch.utils._python_dispatch._disable_current_modes(), repeated(call.draws):
            result = function(*args, **kwargs)
        return tree_map(lambda x: cast(x, dtype) if isinstance(x, Tensor) else x, result)

    return again


def _by_position(rule: type[Rule], slots: dict, gradients: dict) -> dict[int, tuple[str, Tensor | None]]:
    found: dict[int, tuple[str, Tensor | None]] = {}
    for name, slot in slots.items():
        flat = tree_flatten(slot)[0]
        single = isinstance(slot, Input)
        given = gradients.get(name)
        many = [given] if single else tree_flatten(given, is_leaf=lambda x: x is None)[0] if given is not None else []
        inputs = [(i, x) for i, x in enumerate(flat) if isinstance(x, Input)]
        # A list argument gives one gradient an element, also for elements that are no tensors.
        for rank, (i, x) in enumerate(inputs):
            index = i if len(many) == len(flat) else rank
            found[x.position] = (name if single else f"{name}[{i}]", many[index] if index < len(many) else None)
    return found


def _evaluate_custom(call: Call, values: Callable[[int], Tensor], dtype: torch.dtype) -> Evaluation:
    """A custom autograd.Function by the chain rule of its own forward."""
    if not call.inner or len(call.inside) < len(call.outputs):
        raise NoRule(f"the forward of {call.name} is not made of torch functions alone")
    if any("out" in inner.kwargs for inner in call.inner):
        raise NoRule(f"the forward of {call.name} writes into tensors with out=")
    # What does not depend on an input, such as a mask of positions, is a constant here too.
    run = Run(_depending(call.inner, {x.variable for x in call.inputs}, values), values, dtype)

    def pull(dy: dict[int, Tensor]) -> dict[int, tuple[str, Tensor | None]]:
        run.backward(added((call.inside[position], gradient) for position, gradient in dy.items()))
        return {x.position: (f"argument {x.position}", run.gradients.get(x.variable)) for x in call.inputs}

    def found() -> tuple[str, int]:
        each = [evaluation.conventions() for evaluation in run.evaluations.values()]
        return "; ".join(filter(None, dict.fromkeys(words for words, _ in each))), sum(kinks for _, kinks in each)

    outputs = {position: run.value(variable) for position, variable in call.inside.items()}
    return Evaluation(outputs, pull, found, bool(run.unruled))


def added(gradients: Iterable[tuple[int, Tensor]]) -> dict[int, Tensor]:
    """Gradients by variable; those of one variable are summed."""
    total: dict[int, Tensor] = {}
    for variable, gradient in gradients:
        total[variable] = total[variable] + gradient if variable in total else gradient
    return total


class Rounding(Protocol):
    """What rounding could do to the values that enter a call, and to its backward."""

    def values(self, call: Call, values: Callable[[int], Tensor]) -> Callable[[int], Tensor]: ...

    def around(self, call: Call, evaluation: Evaluation) -> Pull: ...


@dataclass
class Run:
    """The reference's own way through a list of calls.

    With `teacher` the recorded value of every variable is used (only the backward pass is chained);
    without it each call gets what the reference itself computed before, with `rounding` made a little wrong.
    `reasons` says of the calls without a rule why, `unruled` holds all that have none inside; `tainted` the variables
    whose gradient went through one; `cut` the calls that the reference found no way back through, so that what lies
    before them is out of its reach.
    """

    calls: list[Call]
    source: Callable[[int], Tensor]
    dtype: torch.dtype
    teacher: bool = False
    rounding: Rounding | None = None
    gradients: dict[int, Tensor] = field(default_factory=dict)
    reasons: dict[Call, str] = field(default_factory=dict)
    unruled: list[Call] = field(default_factory=list)
    tainted: set[int] = field(default_factory=set)
    cut: list[Call] = field(default_factory=list)
    _computed: dict[int, Tensor] = field(default_factory=dict)
    evaluations: dict[Call, Evaluation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for call in self.calls:
            values = self.value if self.rounding is None else self.rounding.values(call, self.value)
            try:
                evaluation = evaluate(call, values, self.dtype)
            except NoRule as reason:
                self.reasons[call] = str(reason)
                fallback = _by_autograd(call, self.value, self.dtype)
                if fallback is None:
                    self.cut.append(call)
                    continue
                evaluation = fallback
            if evaluation.unruled:
                self.unruled.append(call)
            self.evaluations[call] = evaluation
            if not self.teacher:
                for output in call.outputs:
                    value = evaluation.outputs[output.position]
                    self._computed[output.variable] = _laid_out(value, self.source(output.variable))

    def value(self, variable: int) -> Tensor:
        computed = self._computed.get(variable)
        return computed if computed is not None else self.source(variable)

    def backward(self, seeds: dict[int, Tensor], rounding: Rounding | None = None) -> dict[int, Tensor]:
        """The gradients by variable, kept as `gradients` too, from those of some variables.

        `rounding` makes every gradient that enters or leaves a call a little wrong.
        """
        self.gradients = dict(seeds)
        for call, evaluation in reversed(self.evaluations.items()):
            dy = {o.position: self.gradients[o.variable] for o in call.outputs if o.variable in self.gradients}
            if not dy:
                continue
            pull = evaluation.pull if rounding is None else rounding.around(call, evaluation)
            tainted = call in self.unruled or any(o.variable in self.tainted for o in call.outputs)
            for position, (_, gradient) in pull(dy).items():
                if gradient is None:
                    continue
                variable = next(x.variable for x in call.inputs if x.position == position)
                old = self.gradients.get(variable)
                self.gradients[variable] = gradient if old is None else old + gradient
                if tainted:
                    self.tainted.add(variable)
        return self.gradients


def _by_autograd(call: Call, values: Callable[[int], Tensor], dtype: torch.dtype) -> Evaluation | None:
    """A call without a rule, run by torch itself so that the chain can go on; None if it has no gradient.

    What passes through it is not verified by the reference: `Run.tainted` says so.
    """
    inside_custom = not call.grad_mode  # its forward ran with gradients off, so no hook could say which inputs count
    inputs = {x.position: cast(values(x.variable), dtype) for x in call.inputs}
    wanted = inputs if inside_custom else call.input_gradients
    leaves = {p: t.requires_grad_() for p, t in inputs.items() if p in wanted and is_continuous(t)}
    if not leaves or isinstance(call.function, type):
        return None
    args, kwargs = tree_map(lambda x: inputs[x.position] if isinstance(x, Input) else x, (call.args, call.kwargs))
    try:
        with torch.enable_grad(), repeated(call.draws):
            y = [x for x in tree_flatten(call.function(*args, **kwargs))[0] if isinstance(x, Tensor)]
    except RuntimeError:  # it writes to its inputs in a way that no leaf allows
        return None
    if not any(t.requires_grad for t in y):
        return None

    def pull(dy: dict[int, Tensor]) -> dict[int, tuple[str, Tensor | None]]:
        used = [i for i in dy if y[i].requires_grad]
        gradients = torch.autograd.grad(
            [y[i] for i in used], list(leaves.values()), [dy[i] for i in used], allow_unused=True, retain_graph=True
        )
        return {p: (f"argument {p}", g) for p, g in zip(leaves, gradients, strict=True)}

    return Evaluation({i: t.detach() for i, t in enumerate(y)}, pull, unruled=True)


def _laid_out(value: Tensor, recorded: Tensor) -> Tensor:
    """`value` in the memory layout of what was recorded, since a mask is drawn in the order of memory."""
    if value.shape != recorded.shape or value.stride() == recorded.stride():
        return value
    return torch.empty_like(recorded, dtype=value.dtype).copy_(value)


def forward(tape: Tape, dtype: torch.dtype, teacher: bool = False, rounding: Rounding | None = None) -> Run:
    """The reference's own forward pass over what the tape holds, ready to go `backward`."""
    # All else is constant: what does not depend on a leaf, and what left autograd's graph on the way.
    calls = [call for call in tape.calls if call.grad_mode and call.differentiable]
    live = _depending(calls, {*tape.leaves.values(), *tape.holes}, tape.values.__getitem__)
    return Run(live, tape.values.__getitem__, dtype, teacher, rounding)


def backprop(tape: Tape, loss: int, dtype: torch.dtype, teacher: bool = False) -> Run:
    """The reference's gradients of the scalar variable `loss` with respect to everything on the tape."""
    run = forward(tape, dtype, teacher)
    run.backward({loss: torch.ones_like(run.value(loss), dtype=dtype)})
    return run


def _depending(calls: list[Call], on: set[int], values: Callable[[int], Tensor]) -> list[Call]:
    """The calls whose result depends on some variables, not by way of integers."""
    reached, found = set(on), []
    for call in calls:
        if any(x.variable in reached for x in call.inputs):
            found.append(call)
            reached.update(o.variable for o in call.outputs if is_continuous(values(o.variable)))
    return found
