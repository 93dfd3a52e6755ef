"""Workers: processes that run trials for a sweep, and tell the ledger, in the first process, what becomes of them.

One that dies costs the trials it was running: the others go on, and another takes its place.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bptrain import interrupts
from bptrain.errors import RunFailed
from bptrain.sweep.ledger import Failure, Ledger
from bptrain.sweep.parts import units
from bptrain.sweep.plan import Part, Trial
from bptrain.train.torch_import import import_torch

PATIENCE = 10.0  # seconds that a worker has to leave after an interrupt; its runs write their summaries then


def work_off(shares: Iterable[Sequence[Trial]], executor: str, processes: int, ledger: Ledger) -> None:
    """Has every share run by one of so many processes, which import `bptrain.sweep.<executor>`."""
    waiting, workers = deque(shares), list[_Worker]()
    try:
        while waiting or workers:
            while waiting and len(workers) < processes:
                workers.append(_Worker(executor, waiting.popleft()))
            ready = wait([worker.connection for worker in workers])
            for worker in [worker for worker in workers if worker.connection in ready]:
                try:
                    told = worker.connection.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    waiting.extend(worker.died(ledger))
                    continue
                if told is not None:
                    worker.tell(told, ledger)
                elif waiting:
                    worker.give(waiting.popleft())
                else:
                    workers.remove(worker)
                    worker.give([])
                    worker.process.join()
    finally:
        for worker in workers:
            worker.process.terminate()
        try:
            for worker in workers:
                worker.process.join(PATIENCE)
        finally:
            for worker in workers:
                worker.process.kill()


class _Worker:
    """A process, as the first one sees it."""

    def __init__(self, executor: str, share: Sequence[Trial]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, executor), name="bptrain-worker")
        # Held back until it can handle them: one that comes while it loads is no traceback.
        resource_tracker.ensure_running()  # which unblocks them
        before = signal.pthread_sigmask(signal.SIG_BLOCK, interrupts.SIGNALS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.give(share)

    def give(self, share: Sequence[Trial]) -> None:
        self.share, self.running = share, dict[int, Trial]()
        self.waiting = {trial.number: trial for trial in share if not trial.finished}
        with suppress(OSError):  # it has died, which the next look at its connection tells
            self.connection.send(share)

    def tell(self, told: tuple[str, Any, Any], ledger: Ledger) -> None:
        what, of, more = told
        if what == "say":
            ledger.say(of)
        elif what == "begin":
            self.running |= {number: self.waiting.pop(number) for number in of}
            ledger.begin([self.running[number] for number in of])
            with suppress(OSError):
                self.connection.send(ledger.path)
        elif what == "refuse":
            ledger.refuse(self.waiting.pop(of), more)
        elif what == "cut":
            part_of = {number: Part(tuple(part)) for part in more for number in part}
            self.share = [replace(trial, part=part_of.get(trial.number, trial.part)) for trial in self.share]
            ledger.cut(more)
        elif what == "decide":
            ledger.decide(of, more)
        elif what == "give up":
            self.over(more, ledger)
        else:
            getattr(ledger, what)(self.running.pop(of), more)

    def over(self, failure: Failure, ledger: Ledger) -> None:
        """Puts all of its trials on record as failed."""
        for trial in self.running.values():
            ledger.fail(trial, failure)
        for trial in self.waiting.values():
            ledger.refuse(trial, failure)

    def died(self, ledger: Ledger) -> list[list[Trial]]:
        """Puts its trials on record; returns those that others can run."""
        self.process.join()
        code = self.process.exitcode or 0
        how = signal.strsignal(-code) if code < 0 else f"exit code {code}"
        failure = Failure(RunFailed.exit_code, f"its process has died: {how}. Memory may have run out.")
        left = units(trial for trial in self.share if trial.finished or trial.number in self.waiting)
        if not self.running and len(left) == 1:  # another would die of it too
            self.over(failure, ledger)
            return []
        for trial in self.running.values():
            ledger.fail(trial, failure)
        return [list(chain.from_iterable(left))] if self.running and left else left


def _serve(connection: Connection, executor: str) -> None:
    """What a process does: runs share after share until an empty one comes, or it is interrupted."""
    over = (KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError)  # the first process may have died
    threading.Thread(target=_outlived, daemon=True).start()
    # A terminal's Ctrl-C reaches all processes, and the first ends the others then.
    with interrupts.handled(once=True), suppress(*over):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts.SIGNALS)
        import_torch()
        run = importlib.import_module(f"bptrain.sweep.{executor}").run
        while share := connection.recv():
            try:
                run(share, _Remote(connection))
            except Exception as error:
                connection.send(("give up", None, Failure.of(error)))
            connection.send(None)


def _outlived() -> None:
    """Interrupts this process when the first one dies, which can't tell it then; its runs are free at once."""
    first = multiprocessing.parent_process()
    if first is not None:
        first.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _Remote:
    """The ledger as a worker has it."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.path = connection, Path()

    def job(self, trial: Trial) -> Path:
        return self.path / str(trial.number)

    def begin(self, trials: Sequence[Trial]) -> None:
        self.connection.send(("begin", [trial.number for trial in trials], None))
        self.path = self.connection.recv()

    def finish(self, trial: Trial, summary: dict[str, Any]) -> None:
        self.connection.send(("finish", trial.number, summary))

    def fail(self, trial: Trial, failure: Failure) -> None:
        self.connection.send(("fail", trial.number, failure))

    def refuse(self, trial: Trial, failure: Failure) -> None:
        self.connection.send(("refuse", trial.number, failure))

    def cut(self, parts: Sequence[Sequence[int]]) -> None:
        self.connection.send(("cut", None, parts))

    def decide(self, number: int, decisions: Sequence[str]) -> None:
        self.connection.send(("decide", number, list(decisions)))

    def say(self, line: str) -> None:
        self.connection.send(("say", line, None))
