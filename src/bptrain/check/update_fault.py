"""What kind of fault a wrong step has: the option that it forgets, or a factor in its change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from bptrain.check.fault import unlike
from bptrain.check.update import Gradient, Key, Slot, advance, violated
from bptrain.reference.update import Options, Update

LIKENESS = 1e-2  # how near, relatively, a change is to one that explains it
SHARE = 0.75  # of the elements that must be so


def fault(update: type[Update], before: Slot, gradient: Gradient, after: Slot, key: Key) -> str:
    """A few words on how the entry `key` of `after` differs from what it should be; empty where nothing fits."""
    if key[1] in update.given and (words := violated(update, before, gradient)):
        return words
    theirs, ours = dict(after.entries()).get(key), dict(advance(update, before, gradient).entries())[key]
    if theirs is None:
        return "there is none"
    if words := unlike(theirs, ours):
        return words
    old = dict(before.entries()).get(key)
    start = old.double() if old is not None and old.shape == theirs.shape else 0.0

    right, made = ours.double() - start, theirs.double() - start
    for name, options in _others(before.options):
        try:
            other = dict(advance(update, replace(before, options=options), gradient).entries())[key].double() - start
        except (KeyError, ArithmeticError, RuntimeError):  # without its state, with a 0, of another shape
            continue
        if _alike(made, other) and not _alike(right, other):
            return f"as if {name} were {options[name]}"
    moved = right != 0
    if not moved.any():
        return ""
    ratio = (made[moved] / right[moved]).median().item()
    if not ratio:
        return "most of it did not change"
    scaled = abs(ratio - 1) > LIKENESS and _alike(made, ratio * right)
    return f"its change is {ratio:.3g} times what it should be" if scaled else ""


def _alike(change: Tensor, other: Tensor) -> bool:
    """Whether nearly all elements agree; those that change in neither say nothing."""
    if change.shape != other.shape:
        return False
    said = (change != 0) | (other != 0)
    near = (change - other).abs() <= LIKENESS * other.abs()
    return bool(said.any()) and near[said].double().mean().item() >= SHARE


def _others(options: Options) -> Iterator[tuple[str, Options]]:
    """The options with one of them forgotten: a switch the other way, a number at 0."""
    for name, value in options.items():
        if isinstance(value, bool):
            yield name, {**options, name: not value}
        elif isinstance(value, (int, float)) and value and name != "lr":
            yield name, {**options, name: type(value)(0)}
