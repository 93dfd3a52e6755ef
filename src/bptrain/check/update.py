"""One step of an optimizer against its hand-written update, from the optimizer's own state before it.

The update in float64 is the truth. What rounding explains is measured on the update itself: once in the dtypes that
the optimizer keeps its numbers in, and some times in float64 with errors as of the parameter's dtype in each
operation. All is said in ULPs, of the dtype that a number is kept in and at the greater of its values before and after.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from bptrain.check.random_rounding import RandomRounding
from bptrain.check.tolerance import roundoff
from bptrain.check.ulp import ulp
from bptrain.reference.update import IMPLEMENTATION, Evaluate, Options, State, Update, option_names, run_step

# Rounding is what it was seen to do, times this, for other orders of operations. Of 1,800 checks of torch's optimizers
# with their options and implementations none was called wrong that was not (pytorch issue 191763, pull request 194664).
FACTOR = 4.0
# Reruns with random errors; more, where those seem too few to explain what was found, before it is called wrong.
REPEATS = (2, 10)

PARAMETER = "parameter"
Gradient = Tensor | Evaluate | None
# The name of a parameter, and of what is kept of it: PARAMETER for itself, else the state's entry.
Key = tuple[str, str]


@dataclass(frozen=True)
class Slot:
    """What an update acts on at once: one parameter, or all of an optimizer that takes a closure, with its state.

    `group` is the number of the parameter group whose `options` hold.
    """

    names: tuple[str, ...]
    parameters: tuple[Tensor, ...]
    state: State
    options: Options
    group: int

    def entries(self) -> Iterator[tuple[Key, Tensor]]:
        """All that is kept, a list as one tensor with an axis more."""
        yield from (((name, PARAMETER), w) for name, w in zip(self.names, self.parameters, strict=True))
        owner = self.names[0] if len(self.names) == 1 else "all parameters"
        for name, value in self.state.items():
            if isinstance(value, Tensor):
                yield (owner, name), value
            elif value and None not in value:
                yield (owner, name), torch.stack(value)


@dataclass(frozen=True)
class EntryError:
    """How far an entry was off after a step, and how far rounding explains.

    `ulps` is the worst element, in ULPs of its dtype. `bias` is the error that all elements have in common, relative to
    how the entry changed: 0.001 where the whole step is 0.1 % too long. It is judged from float32 up.
    """

    dtype: torch.dtype
    ulps: float = 0.0
    explained: float = 0.0
    bias: float = 0.0
    bias_explained: float = math.inf

    @property
    def wrong(self) -> bool:
        return self.ulps > self.explained or abs(self.bias) > self.bias_explained


def slots(optimizer: Optimizer, update: type[Update], names: list[list[str]]) -> list[Slot]:
    """A copy of all that `optimizer` keeps; `names` of its parameters by group."""
    found = []
    for number, (group, known) in enumerate(zip(optimizer.param_groups, names, strict=True)):
        kept = {k: v for k, v in group.items() if k in optimizer.defaults and k not in IMPLEMENTATION}
        options = tree_map(lambda v: v.item() if isinstance(v, Tensor) else v, kept)
        together = [list(range(len(known)))] if update.closure else [[i] for i in range(len(known))]
        for members in together:
            parameters = tuple(group["params"][i].detach().clone() for i in members)
            state = tree_map(_copy, dict(optimizer.state.get(group["params"][members[0]], {})))
            concrete = update.concrete(options, parameters[0].dtype)
            found.append(Slot(tuple(known[i] for i in members), parameters, state, concrete, number))
    return found


def with_given(update: type[Update], before: Slot, after: Slot) -> Slot:
    """The slot before a step, its options with what the update takes as the optimizer found it."""
    found = {name: float(after.state.get(name, math.nan)) for name in update.given}
    return replace(before, options=before.options | found)


def violated(update: type[Update], before: Slot, gradient: Gradient) -> str:
    """The condition that such an option breaks, in words; nothing where none is broken."""
    if not update.given:
        return ""
    parameters, state = tree_map(_double, (before.parameters, before.state))
    return update.violated(parameters, gradient, state, **before.options)


def uncovered(optimizer: Optimizer, update: type[Update] | None) -> str:
    """Why the update can't be said to be known, or nothing."""
    if update is None:
        return f"no update is written for {type(optimizer).__name__}"
    if more := optimizer.defaults.keys() - IMPLEMENTATION - option_names(update):
        return f"no update is written for {type(optimizer).__name__} with {', '.join(sorted(more))}"
    if any(p.is_complex() for group in optimizer.param_groups for p in group["params"]):
        return "no update is written for complex parameters"
    return ""


def compare_step(
    update: type[Update], before: Slot, gradient: Gradient, after: Slot, generator: torch.Generator
) -> dict[Key, EntryError]:
    """Every entry after the step against what the update makes of `before` and `gradient`.

    Empty where rounding decides which way the step goes, where a line search stops for instance, and it went another,
    or ends elsewhere: then rounding may have multiplied beyond what the reruns show.
    """
    exact = dict(advance(update, before, gradient).entries())
    theirs, old = dict(after.entries()), dict(before.entries())
    way = _way(exact)
    reruns = [_stored(update, before, gradient, after)]
    for repeats in (0, *REPEATS):  # most updates are within what the first rerun allows
        reruns += [_random(update, before, gradient, generator) for _ in range(repeats)]
        alike = [rerun for rerun in reruns if _way(rerun) == way]
        decided = len(alike) == len(reruns)
        if not alike or not (decided or _way(theirs) == way):
            return {}
        errors = {
            key: _compare(theirs.get(key), value, [rerun[key] for rerun in alike], old.get(key), update.mixes)
            for key, value in exact.items()
        }
        wrong = any(error.wrong for error in errors.values())
        if not wrong:
            break
    broken = [key for key in theirs if key[1] in update.given] if violated(update, before, gradient) else []
    judged = errors if decided or not wrong else {}
    return judged | dict.fromkeys(broken, EntryError(torch.float64, math.inf))


def advance(update: type[Update], slot: Slot, gradient: Gradient) -> Slot:
    """The slot after the update, all of it computed in float64."""
    parameters, state, gradient = tree_map(_double, (slot.parameters, slot.state, gradient))
    parameters, state = run_step(update, parameters, gradient, state, slot.options)
    return replace(slot, parameters=parameters, state=tree_map(_copy, state))


def _stored(update: type[Update], before: Slot, gradient: Gradient, after: Slot) -> dict[Key, Tensor]:
    """The entries after the update in the dtypes that the optimizer keeps them in."""
    state = before.state
    if not state and gradient is not None:
        state = update.start(before.parameters[0], **before.options)
        state = {k: v.to(after.state[k].dtype) if k in after.state else v for k, v in state.items()}
    parameters, state = run_step(update, before.parameters, gradient, state, before.options)
    return dict(replace(before, parameters=parameters, state=tree_map(_copy, state)).entries())


def _random(update: type[Update], before: Slot, gradient: Gradient, generator: torch.Generator) -> dict[Key, Tensor]:
    """The entries after the update in float64 with random errors as of the parameters' dtype."""
    unit = max(roundoff(w.dtype) for w in before.parameters)
    rounding = RandomRounding(unit, generator)
    if callable(gradient):
        evaluate: Callable = gradient

        def gradient(parameters: tuple[Tensor, ...]) -> tuple[float, tuple[Tensor, ...]]:
            loss, gradients = evaluate(parameters)
            loss = rounding.err(torch.tensor(loss, dtype=torch.float64)).item()
            return loss, tuple(rounding.err(g) for g in gradients)

    with rounding:
        return dict(advance(update, before, gradient).entries())


def _way(entries: dict[Key, Tensor]) -> dict[Key, Any]:
    """What a step counted, and what it keeps: the same where it went the same way."""
    return {key: list(value.shape) if value.is_floating_point() else int(value) for key, value in entries.items()}


def _compare(theirs: Tensor | None, exact: Tensor, reruns: list[Tensor], old: Tensor | None, mixes: bool) -> EntryError:
    if theirs is None or theirs.shape != exact.shape:
        return EntryError(torch.float64 if theirs is None else theirs.dtype, math.inf)
    dtype = theirs.dtype if theirs.is_floating_point() else torch.float64
    old = torch.zeros_like(exact) if old is None or old.shape != exact.shape else old
    given, exact, old = theirs.double(), exact.double(), old.double()
    again = torch.stack([rerun.double() for rerun in reruns])  # (reruns, *)
    # Infinite or NaN on both sides is agreement on what overflowed.
    same = (given == exact) | (given.isnan() & exact.isnan())
    finite = exact.isfinite() & again.isfinite().all(0)
    if not (given.isfinite() | same | ~finite).all():
        return EntryError(dtype, math.inf)
    size = torch.maximum(exact.abs(), old.abs())
    if mixes and size.dim():  # as the greatest in its row
        size = size.amax(-1, keepdim=True).expand(size.shape)
    at = finite & given.isfinite()
    if not at.any():
        return EntryError(dtype)
    unit, off, spread, change = ulp(size[at], dtype), given[at] - exact[at], again[:, at] - exact[at], (exact - old)[at]
    explained = FACTOR * max(1.0, (spread.abs() / unit).max().item())
    error = EntryError(dtype, (off.abs() / unit).max().item(), explained)
    length = change.square().sum()
    # Some kernels round 1 - lr weight_decay itself to a half-precision dtype: there, much can be in common.
    if not length or torch.finfo(dtype).bits < 32:
        return error
    # Errors of one ULP in each element, of random signs, add up to this slope; one of eps they may have in common.
    chance = ((unit * change).square().sum().sqrt() / length).item()
    common = (spread @ change / length).abs().max().item()
    bias_explained = FACTOR * max(chance, common, torch.finfo(dtype).eps)
    return replace(error, bias=((off @ change) / length).item(), bias_explained=bias_explained)


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _copy(value: Any) -> Any:
    """A tensor of an entry, numbers included."""
    if isinstance(value, (int, float)):
        return torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64)
    if isinstance(value, Tensor):
        value = value.detach().to_dense().clone()
    return value
