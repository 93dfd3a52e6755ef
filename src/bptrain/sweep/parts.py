"""Parts of a population: which trials train as one program, as a sweep keeps it. Bits depend on that."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from bptrain.sweep.plan import Part, Trial

DECISIONS = ("compiled", "stacked", "turns")  # those of bptrain.train.decisions


def units(trials: Iterable[Trial]) -> list[list[Trial]]:
    """Trials that go together or not at all: those of a part, others by themselves; none where all have finished."""
    found: dict[int | tuple[int, ...], list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.number if trial.part is None else trial.part.trials, []).append(trial)
    return [unit for unit in found.values() if not all(trial.finished for trial in unit)]


def cut_of(request: dict[str, Any], count: int) -> tuple[list[list[int]], dict[int, Part]]:
    """The shares of processes and the part of each trial that has one, from a `sweep.json` of so many trials.

    ValueError when it has not been written by a sweep.
    """
    shares, parts = request.get("shares", []), request.get("parts", [])
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError("parts")
    for cut in (shares, [part.get("trials") for part in parts]):
        if not isinstance(cut, list) or not all(isinstance(of, list) and of for of in cut):
            raise ValueError("a cut")
        numbers = list(chain.from_iterable(cut))
        known = all(type(number) is int and 0 <= number < count for number in numbers)
        if not known or len(set(numbers)) != len(numbers):
            raise ValueError("numbers of trials")
    if {*chain.from_iterable(shares)} != set(range(count)) and shares:
        raise ValueError("shares")
    for part in parts:
        made = part.get("decisions")
        if not isinstance(made, list) or not all(decision in DECISIONS for decision in made):
            raise ValueError("decisions")
    made = [Part(tuple(part["trials"]), tuple(part["decisions"])) for part in parts]
    return shares, {number: part for part in made for number in part.trials}
