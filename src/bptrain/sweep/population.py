"""The population executor: trials that differ in numbers alone train together, the others one after the other."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import torch

from bptrain.errors import BptrainError
from bptrain.sweep.job import job
from bptrain.sweep.ledger import Ledger
from bptrain.sweep.plan import Trial
from bptrain.sweep.serial import one_by_one
from bptrain.train.member import Member
from bptrain.train.population import Population
from bptrain.train.program import Untraceable
from bptrain.train.record import Record
from bptrain.train.run import build

SHARE = 4  # of the machine's memory a group takes this part at the most
COPIES = 8  # of a member's tensors: stacked, of the best epoch, before and after a checked step


def run_all(trials: list[Trial], quiet: bool = False) -> int:
    """As the serial executor, but that trials with the same shapes train as one program."""
    with Ledger(trials, quiet) as ledger:
        groups: dict[str, list[tuple[Trial, Member]]] = {}
        alone: list[tuple[Trial, str]] = []
        for trial in trials:
            try:
                member = Member(trial.number, build(trial.settings))
                groups.setdefault(member.kind(), []).append((trial, member))
            except Untraceable as error:
                alone.append((trial, str(error)))
            except Exception as error:
                ledger.begin([trial])
                ledger.fail(trial, error)
        for group in groups.values():
            if len(group) == 1:
                alone.append((group[0][0], "no other trial has its shapes"))
                continue
            for part in _parts(group):
                ledger.console.say(f"population  {len(part)} trials as one program")
                _together(part, ledger)
        for trial, reason in alone:
            ledger.console.say(f"alone       trial {trial.number}: {reason}")
        one_by_one([trial for trial, _ in alone], ledger)
    return ledger.close()


def _parts(group: list[tuple[Trial, Member]]) -> list[list[tuple[Trial, Member]]]:
    """A group cut into parts of equal size that fit into memory, and have `sweep.max_members` at the most."""
    most = group[0][0].settings.sweep.max_members or len(group)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // SHARE
    each = max(COPIES * sum(t.nbytes for t in member.tensors()) + member.activations for _, member in group)
    most = max(1, min(most, memory // max(each, 1)))
    count = -(-len(group) // most)
    size = -(-len(group) // count)
    return [group[i : i + size] for i in range(0, len(group), size)]


@dataclass
class _Feed:
    """Records of one member, as they come; an error among them is raised."""

    items: deque[Record | BptrainError] = field(default_factory=deque)

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> Record:
        if not self.items:
            raise StopIteration
        item = self.items.popleft()
        if isinstance(item, BptrainError):
            raise item
        return item


def _together(part: Sequence[tuple[Trial, Member]], ledger: Ledger) -> None:
    ledger.begin([trial for trial, _ in part])
    trials = {trial.number: trial for trial, _ in part}
    members = [member for _, member in part]
    with ExitStack() as stack:
        feeds, jobs = {}, {}
        for trial, member in part:
            feeds[trial.number] = _Feed()
            made = job(member.run, trial.config, feeds[trial.number], ledger.job(trial), quiet=True)
            jobs[trial.number] = stack.enter_context(closing(made))
        for member, record in Population(members, *_data(members)).fit():
            feeds[member.number].items.append(record)
            _pass_on(jobs[member.number], trials[member.number], ledger, last=not member.running)


def _pass_on(records: Generator[Record, None, dict[str, Any]], trial: Trial, ledger: Ledger, last: bool) -> None:
    """Has the record written that was fed; after the `last` the trial is at its end."""
    try:
        next(records)
        if last:
            next(records)
    except StopIteration as end:
        ledger.finish(trial, end.value)
    except Exception as error:
        ledger.fail(trial, error)


def _data(members: Sequence[Member]) -> tuple[torch.Tensor, torch.Tensor]:
    """The training parts, each once, one after the other; tells the members where theirs begins."""
    places: dict[str, int] = {}
    parts, rows = [], 0
    for member in members:
        dataset = member.run.dataset
        if dataset.fingerprint not in places:
            places[dataset.fingerprint] = rows
            parts.append(dataset.parts["train"])
            rows += len(parts[-1])
        member.offset = places[dataset.fingerprint]
    return torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts])
