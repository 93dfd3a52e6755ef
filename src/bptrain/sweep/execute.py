"""Executes the trials of a sweep: in this process, or in several that share them."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from bptrain.sweep.ledger import Before, Ledger
from bptrain.sweep.plan import Trial
from bptrain.sweep.workers import work_off
from bptrain.train.torch_import import import_torch

EXECUTORS = {"serial": "serial", "process": "serial", "population": "population"}  # what runs the trials of a process
FEW = 4  # trials of a population that are worth a process of their own
NUMBERS = re.compile(  # keys of numbers in which members of a population may differ
    r"(seed|(scheduler|optimizer)\.\w+|fit\.(epochs|patience|clip)|(model|loss)\.(\w*dropout|label_smoothing))="
)


def execute(
    trials: Sequence[Trial],
    quiet: bool = False,
    request: dict[str, Any] | None = None,
    before: Before | None = None,
    shares: Sequence[Sequence[Trial]] = (),
) -> int:
    """Runs every trial, whatever becomes of the others; returns the exit code of the sweep.

    `request` is what was asked for, by which the sweep can go on later; one that does has what was `before`, and the
    `shares` that there were. RequestError, before anything is written, when none of the trials can be built.
    """
    sweep, request = trials[0].settings.sweep, dict(request or {})
    executor = EXECUTORS[sweep.executor]
    if not shares:
        shares = _shares(trials)
        if executor == "population":
            request["shares"] = [[trial.number for trial in share] for share in shares]
    with Ledger([trial for trial in trials if not trial.finished], quiet, request, before) as ledger:
        if len(shares) > 1 or sweep.executor == "process":
            work_off(shares, executor, _processes(trials), ledger)
        else:
            import_torch()
            importlib.import_module(f"bptrain.sweep.{executor}").run(trials, ledger)
    return ledger.close()


def _processes(trials: Sequence[Trial]) -> int:
    """How many processes work at the same time, at the most; unless it is said, each has cores for its threads, and
    those on a GPU take turns."""
    settings = trials[0].settings
    if settings.sweep.processes is not None:
        return settings.sweep.processes
    if settings.sweep.executor == "serial" or any(trial.settings.device != "cpu" for trial in trials):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has none
    return max(1, cores // max(trial.settings.threads for trial in trials))


def _shares(trials: Sequence[Trial]) -> list[Sequence[Trial]]:
    """What a process gets at a time: a trial, or trials of a population, few groups of which are cut for that."""
    processes, sweep = _processes(trials), trials[0].settings.sweep
    if sweep.executor == "process":
        return [[trial] for trial in trials]
    if processes == 1:
        return [trials]
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(tuple(word for word in trial.words if not NUMBERS.match(word)), []).append(trial)
    shares: list[Sequence[Trial]] = []
    for group in groups.values():
        pieces = min(-(-processes // len(groups)), max(1, len(group) // min(FEW, sweep.max_members or FEW)))
        bounds = [len(group) * i // pieces for i in range(pieces + 1)]
        shares += [group[a:b] for a, b in pairwise(bounds)]
    return shares
