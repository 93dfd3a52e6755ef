"""The population executor: trials that differ in numbers alone train together, the others one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import chain
from typing import Any

import torch

from bptrain.data.dataset import Dataset
from bptrain.errors import BptrainError, Problem, RequestError
from bptrain.runs.directory import RunDirectory
from bptrain.runs.lock import changes, lock
from bptrain.sweep import serial
from bptrain.sweep.job import job
from bptrain.sweep.ledger import Failure, Told
from bptrain.sweep.parts import units
from bptrain.sweep.plan import Part, Trial
from bptrain.train.decisions import Decisions
from bptrain.train.member import Member
from bptrain.train.population import Population, Programs
from bptrain.train.program import Untraceable
from bptrain.train.record import Checked, Chosen, Record
from bptrain.train.run import build

# Bytes of weights, gradients, optimizer's state and activations that train together: what a core has near itself. On
# one with 1 MB of L2 and a share of 32 MB of L3, 64 networks of 64-128-128-128-10 took twice as long together as by 4.
CACHE = 4 * 2**20
Group = list[tuple[Trial, Member]]


def run(trials: Sequence[Trial], ledger: Told) -> None:
    """As the serial executor, but that trials with the same shapes train as one program.

    Those of a part that was cut before begin again together: bits depend on who sits where.
    """
    groups, alone = _built([trial for trial in trials if trial.part is None], ledger)
    cut = [_parts(group) for group in groups]
    if groups or alone:
        numbers = [[trial.number for trial, _ in part] for parts in cut for part in parts]
        ledger.cut([*numbers, *([trial.number] for trial, _ in alone)])
    for unit in units(trial for trial in trials if trial.part is not None):
        if unit[0].part == Part((unit[0].number,)):
            alone.append((unit[0], "it goes on where it was" if unit[0].begun else "it is not in a part with others"))
        else:
            _again(unit, ledger)
    for group, parts in zip(groups, cut, strict=True):
        programs = Programs()
        together = f"{len(group)} trials as one program" + (f", by {len(parts[0])}" if len(parts) > 1 else "")
        ledger.say(f"population  {together}")
        for done, part in enumerate(parts):
            _together(part, programs, len(parts) - done, ledger)
    for trial, reason in alone:
        ledger.say(f"alone       trial {trial.number}: {reason}")
    serial.run([trial for trial, _ in alone], ledger)


def _built(trials: Sequence[Trial], ledger: Told) -> tuple[list[Group], list[tuple[Trial, str]]]:
    """Groups of trials that can train together, and those that go alone and why."""
    groups: dict[str, Group] = {}
    alone: list[tuple[Trial, str]] = []
    datasets: dict[str, Dataset] = {}  # those of the same seed are the same
    for trial in trials:
        data, seed = trial.settings.data, trial.settings.seed
        try:
            if (key := f"{data!r} {seed}") not in datasets:
                datasets[key] = data.load(seed)
            member = Member(trial.number, build(trial.settings, datasets[key]))
            groups.setdefault(member.kind(), []).append((trial, member))
        except Untraceable as error:
            alone.append((trial, str(error)))
        except Exception as error:
            if not trial.finished:
                ledger.refuse(trial, Failure.of(error))
    alone += [(group[0][0], "no other trial has its shapes") for group in groups.values() if len(group) == 1]
    return [group for group in groups.values() if len(group) > 1], alone


def _parts(group: Group) -> list[Group]:
    """A group cut into parts, of which each trains to its end before the next begins; if possible of the same size.

    So they have the same program.
    """
    each = max(sum(t.nbytes for t in member.tensors()) + member.activations for _, member in group)
    most = max(2, min(CACHE // max(each, 1), group[0][0].settings.sweep.max_members or len(group), len(group)))
    size = next((size for size in range(most, most // 2, -1) if len(group) % size == 0), most)
    return [group[i : i + size] for i in range(0, len(group), size)]


class _Job:
    """One member's run directory, fed with records one at a time; an error among them is raised where they are kept.

    What waits for the disk at its start and its end is done by `pool`, for all members at once.
    """

    def __init__(self, trial: Trial, member: Member, ledger: Told, pool: Executor) -> None:
        self.trial, self.member, self.ledger, self.pool = trial, member, ledger, pool
        self.fed: deque[Record | BptrainError] = deque()
        self.records = job(member.run, trial.config, self._feed(), ledger.job(trial), quiet=True)
        self.waiting: Future[None] | None = None
        self.summary: dict[str, Any] = {}
        self.running = True

    def _feed(self) -> Iterator[Record]:
        while self.fed:
            item = self.fed.popleft()
            if isinstance(item, BptrainError):
                raise item
            yield item

    def push(self, record: Record | BptrainError) -> None:
        """Has a record written; none after the run's own end, which a full disk can bring about."""
        self.settle()
        if not self.running:
            return
        self.fed.append(record)
        last = not self.member.running
        if last or isinstance(record, (Checked, Chosen)):
            self.waiting = self.pool.submit(self._write, last)
        else:
            self._finish_with(lambda: self._write(last))

    @property
    def written(self) -> bool:
        """Whether there is nothing that `settle` would wait for."""
        return self.waiting is None or self.waiting.done()

    def settle(self) -> None:
        """Waits until all is written that was pushed, and has the ledger say if that was the end."""
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            self._finish_with(waiting.result)

    def close(self) -> None:
        """No record comes any more."""
        try:
            self.settle()
        finally:
            self.records.close()

    def _write(self, last: bool) -> None:
        for _ in range(2 if last else 1):
            try:
                next(self.records)
            except StopIteration as end:
                self.summary = end.value

    def _finish_with(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:
            self.running = False
            self.ledger.fail(self.trial, Failure.of(error))
        if self.summary and self.running:
            self.running = False
            self.ledger.finish(self.trial, self.summary)


def _again(unit: Sequence[Trial], ledger: Told) -> None:
    """Trains a part that has not come to its end from its start; those that have finished keep what they have left."""
    (cut,) = {trial.part for trial in unit if trial.part is not None}
    groups, alone = _built(sorted(unit, key=lambda trial: cut.trials.index(trial.number)), ledger)
    built = list(chain(*groups))
    changed = dict(chain.from_iterable(_changed(trial, member).items() for trial, member in built))
    if len(groups) == 1 and len(built) == len(cut.trials) and not changed:
        ledger.say(f"population  {len(built)} trials as one program, from their start again")
        _together(built, Programs(), 1, ledger)
        return
    said = changed or {"": "not all of those that trained with it can be built as they were."}
    error = RequestError([Problem("resume", text, "Start the sweep again.") for text in said.values()])
    for trial in [*(trial for trial, _ in built), *(trial for trial, _ in alone)]:
        if not trial.finished:
            ledger.refuse(trial, Failure.of(error))


def _changed(trial: Trial, member: Member) -> dict[str, str]:
    """What would give other bits than those of its first start, by name."""
    before = RunDirectory(trial.begun).read_json("lock.json") if trial.begun is not None else {}
    if not before:  # it had not begun
        return {}
    run = member.run
    now = lock(trial.config, run.settings, run.dataset.fingerprint, str(run.device))
    config = {} if before.get("config") == now["config"] else {"config": "its config was another one."}
    return config | changes(before, now)


def _together(part: Group, programs: Programs, share: int, ledger: Told) -> None:
    first, members = part[0][0], [member for _, member in part]
    part = [(trial, member) for trial, member in part if not trial.finished]
    decisions = Decisions(first.part.decisions if first.part is not None else ())
    known, ending = len(decisions), deque[_Job]()
    ledger.begin([trial for trial, _ in part])
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(part)))
        jobs = {trial.number: _Job(trial, member, ledger, pool) for trial, member in part}
        for one in jobs.values():
            stack.enter_context(closing(one))
        for member, record in Population(members, *_data(members), programs, share, decisions).fit():
            if len(decisions) > known:  # before anything that follows from it is on disk
                ledger.decide(first.number, decisions)
                known = len(decisions)
            if member.number in jobs:
                jobs[member.number].push(record)
                if not member.running:
                    ending.append(jobs[member.number])
            if ending and ending[0].written:
                ending.popleft().settle()
            if not any(member.running for _, member in part):
                break


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
