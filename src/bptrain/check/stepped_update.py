"""What an optimizer made of the gradients that it got, and the learning rates that it did so with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim import Optimizer

from bptrain.check.evaluation import Evaluation, Replay
from bptrain.check.optimizer import entry_report
from bptrain.check.optimizer_report import OptimizerReport
from bptrain.check.update import EntryError, Gradient, Key, Slot, compare_step, slots, uncovered, with_given
from bptrain.check.update_fault import fault
from bptrain.reference.update import Update

Made = tuple[Slot, Gradient, Slot]  # before a step, what it got, after it


def compare_update(
    optimizer: Optimizer,
    update: type[Update] | None,
    before: list[Slot],
    seen: list[Evaluation],
    names: list[list[str]],
    generator: torch.Generator,
    others: Callable[[int], dict[str, float]],
) -> tuple[OptimizerReport, list[Tensor]]:
    """The report on the update, and the rate of each parameter group: what it had, or what explains its update.

    `others` are the rates, by words for them, that a group may have been updated with while it said another one.
    """
    title, note, rates = type(optimizer).__name__, uncovered(optimizer, update), list(seen[0].rates)
    if update is None or note:
        return OptimizerReport(title, 1, note=note), rates
    if update.closure and any(evaluation.loss is None for evaluation in seen):
        return OptimizerReport(title, 1, note="its step was called without a closure, or not at all"), rates
    gradients: list[Gradient] = [Replay(seen)] if update.closure else list(seen[-1].gradients)
    after = slots(optimizer, update, names)
    made = [(with_given(update, old, new), g, new) for old, g, new in zip(before, gradients, after, strict=True)]
    entries = []
    for group, rate in enumerate(rates):
        steps = _at(rate, [step for step in made if step[0].group == group])
        errors = _errors(update, steps, generator)
        if _wrong(errors):
            for other in others(group).values():
                explained = _at(rate.new_tensor(other), steps)
                again = _errors(update, explained, generator)
                if any(again) and not _wrong(again):
                    rates[group], steps, errors = rate.new_tensor(other), explained, again
                    break
        for step, found in zip(steps, errors, strict=True):
            for key, error in found.items():
                entries.append(entry_report(key, 1, error, fault(update, *step, key) if error.wrong else ""))
    undecided = f"rounding decides which way a step of {len(seen)} evaluations goes; fewer (max_iter=5) can be compared"
    return OptimizerReport(title, 1, entries, "" if entries else undecided), rates


def _at(rate: Tensor, made: list[Made]) -> list[Made]:
    return [(replace(old, options=old.options | {"lr": rate.item()}), gradient, new) for old, gradient, new in made]


def _errors(update: type[Update], made: list[Made], generator: torch.Generator) -> list[dict[Key, EntryError]]:
    return [compare_step(update, *step, generator) for step in made]


def _wrong(errors: list[dict[Key, EntryError]]) -> bool:
    return any(error.wrong for found in errors for error in found.values())
