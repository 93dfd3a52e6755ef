"""What kind of fault a wrong step has: the option that it forgets, or a factor in its change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from bptrain.check.update import Gradient, Key, Slot, advance
from bptrain.reference.update import Options, Update

LIKENESS = 1e-2  # how near, relatively, a change is to one that explains it
SHARE = 0.75  # of the elements that must be so


def fault(update: type[Update], before: Slot, gradient: Gradient, after: Slot, key: Key) -> str:
    """A few words on how the entry `key` of `after` differs from what it should be; empty where nothing fits."""
    theirs = dict(after.entries()).get(key)
    if theirs is None:
        return "there is none"
    old = dict(before.entries()).get(key)
    start = old.double() if old is not None and old.shape == theirs.shape else 0.0

    def change(slot: Slot) -> Tensor:
        """How the entry changed on the way to `slot`."""
        return (dict(slot.entries())[key].double() - start).flatten()

    right, made = change(advance(update, before, gradient)), change(after)
    if right.shape != made.shape:
        return f"its shape is {tuple(theirs.shape)}"
    if not made.isfinite().all():
        return "it is not finite"
    for name, options in _others(before.options):
        try:
            other = change(advance(update, replace(before, options=options), gradient))
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
