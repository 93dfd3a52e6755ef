"""The population executor: trials that differ in numbers alone train together, the others one after the other."""

from __future__ import annotations

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
from bptrain.train.population import Population, Programs
from bptrain.train.program import Untraceable
from bptrain.train.record import Record
from bptrain.train.run import build

# Bytes of weights, gradients, optimizer's state and activations that train together: what a core has near itself. On
# one with 1 MB of L2 and a share of 32 MB of L3, 64 networks of 64-128-128-128-10 took twice as long together as by 4.
CACHE = 4 * 2**20


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
            parts, programs = _parts(group), Programs()
            together = f"{len(group)} trials as one program" + (f", by {len(parts[-1])}" if len(parts) > 1 else "")
            ledger.console.say(f"population  {together}")
            for done, part in enumerate(parts):
                _together(part, programs, len(parts) - done, ledger)
        for trial, reason in alone:
            ledger.console.say(f"alone       trial {trial.number}: {reason}")
        one_by_one([trial for trial, _ in alone], ledger)
    return ledger.close()


def _parts(group: list[tuple[Trial, Member]]) -> list[list[tuple[Trial, Member]]]:
    """A group cut into parts of nearly equal size, of which each trains to its end before the next begins."""
    each = max(sum(t.nbytes for t in member.tensors()) + member.activations for _, member in group)
    most = max(2, min(CACHE // max(each, 1), group[0][0].settings.sweep.max_members or len(group)))
    count = -(-len(group) // most)
    return [group[i * len(group) // count : (i + 1) * len(group) // count] for i in range(count)]


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


def _together(part: Sequence[tuple[Trial, Member]], programs: Programs, share: int, ledger: Ledger) -> None:
    ledger.begin([trial for trial, _ in part])
    trials = {trial.number: trial for trial, _ in part}
    members = [member for _, member in part]
    with ExitStack() as stack:
        feeds, jobs = {}, {}
        for trial, member in part:
            feeds[trial.number] = _Feed()
            made = job(member.run, trial.config, feeds[trial.number], ledger.job(trial), quiet=True)
            jobs[trial.number] = stack.enter_context(closing(made))
        for member, record in Population(members, *_data(members), programs, share).fit():
            if member.number in jobs:
                feeds[member.number].items.append(record)
                if _ended(jobs[member.number], trials[member.number], ledger, last=not member.running):
                    del jobs[member.number]


def _ended(records: Generator[Record, None, dict[str, Any]], trial: Trial, ledger: Ledger, last: bool) -> bool:
    """Has the record written that was fed; whether the trial is at its end, as after the `last` or a full disk."""
    try:
        next(records)
        if last:
            next(records)
    except StopIteration as end:
        ledger.finish(trial, end.value)
    except Exception as error:
        ledger.fail(trial, error)
    else:
        return False
    return True


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
