"""Writes what happens in a run to its directory while the records pass by."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bptrain.check.verdict import ORDER
from bptrain.files import to_json
from bptrain.runs.directory import RunDirectory
from bptrain.runs.lock import lock
from bptrain.train.checkpoint import checkpoint
from bptrain.train.record import Checked, Chosen, Evaluated, Finished, Health, Record, Stepped
from bptrain.train.run import Run
from bptrain.train.state import Snapshot

if TYPE_CHECKING:
    from bptrain.config.compose import Config


def keep(run: Run, config: Config, directory: RunDirectory, records: Iterable[Record]) -> Generator[Record, None, None]:
    """Passes the records on, each after what it brings is on disk.

    However it ends, `summary.json` is written: `finished`, `failed` with the reason, or `interrupted`.
    """
    start = time.perf_counter()
    directory.write_config(config, run.settings.name)
    locked = lock(config, run.settings, run.dataset.fingerprint, str(run.device))
    if run.ranks is not None:
        locked["distributed"] = run.ranks.facts(run.device)
    directory.write_json("lock.json", locked)
    summary: dict[str, Any] = {"status": "interrupted", "monitor": run.monitor, "mode": run.mode}
    rows, checkpoints = 0, _Checkpoints(run, directory)

    with closing(directory.lines("metrics.jsonl")) as metrics:

        def write_metrics(part: str, epoch: int, step: int, lr: float, scores: dict[str, float]) -> None:
            line = {"step": step, "epoch": epoch, "split": part, **scores, "lr": lr}
            metrics.append(to_json(line | {"seconds": round(time.perf_counter() - start, 3)}))

        lr = 0.0
        try:
            try:
                for record in records:
                    match record:
                        case Stepped():
                            rows += record.rows
                            checkpoints.after_step()
                        case Checked():
                            facts = {"step": record.step, "seconds": record.seconds}
                            facts |= {"rows": record.rows, "batch_rows": record.batch}
                            certificate = record.report.to_json() | facts
                            summary["gradients"] = _verdict(certificate, summary.get("gradients"))
                            directory.write_json("gradients.json", certificate)
                        case Chosen():
                            locked |= {"engine": record.engine, "engine_chosen": asdict(record)}
                            directory.write_json("lock.json", locked)
                        case Evaluated():
                            lr = record.lr
                            for part, scores in record.scores.items():
                                figures = _figures(record.health) if part == "train" else {}
                                write_metrics(part, record.epoch, record.step, lr, scores | figures)
                            if record.health is not None:
                                summary["health"] = _health(record.health, summary.get("health"))
                            summary["final"] = record.scores
                            if record.best:
                                summary["best"] = {"epoch": record.epoch, "step": record.step, **record.scores}
                        case Finished():
                            summary["test"] = record.scores
                            summary["stopped_early"] = record.early
                            if record.scores:
                                write_metrics("test", record.epoch, record.step, lr, record.scores)
                            summary["status"] = "finished"
                    yield record
            finally:
                # Shards are put together by all processes, and one that fails does not know where the others are.
                if run.state.step and (summary["status"] == "finished" or not checkpoints.sharded):
                    checkpoints.write()
        except Exception as error:
            summary |= {"status": "failed", "reason": str(error)}
            raise
        finally:
            seconds = time.perf_counter() - start
            summary |= {"steps": run.state.step, "epochs": run.state.epoch, "seconds": round(seconds, 3)}
            directory.write_json("summary.json", summary | {"samples_per_second": round(rows / seconds, 1)})


def follow(run: Run, records: Iterable[Record]) -> Generator[Record, None, None]:
    """Passes the records on in a process that keeps none; it helps to put the checkpoints of the first together."""
    checkpoints = _Checkpoints(run, None)
    for record in records:
        if isinstance(record, Stepped):
            checkpoints.after_step()
        yield record
    checkpoints.write()


class _Checkpoints:
    """Writes `last` and `best` when they are due: each write waits for the disk, which costs more than an epoch can.

    Without a directory it writes nothing: then only what is sharded counts, of which each process has a part.
    """

    def __init__(self, run: Run, directory: RunDirectory | None) -> None:
        self.state, self.directory, self.settings = run.state, directory, run.settings.fit.checkpoint
        self.sharded = run.ranks if run.ranks is not None and run.ranks.sharded else None
        self.written, self.best_step = time.perf_counter(), 0

    def after_step(self) -> None:
        seconds, every, now = self.settings.seconds, self.settings.every, time.perf_counter()
        due = now - self.written >= seconds if seconds is not None else self.state.step % int(every) == 0
        if self.sharded.decides(due) if self.sharded is not None else due:
            self.write()

    def write(self) -> None:
        if self.directory is None and self.sharded is None:
            return
        state = self.state
        if "last" in self.settings.keep:
            self._write("last", state.snapshot())
        if "best" in self.settings.keep and state.best is not None and state.best_step != self.best_step:
            self._write("best", state.best)
            self.best_step = state.best_step
        self.written = time.perf_counter()

    def _write(self, name: str, snapshot: Snapshot) -> None:
        full = snapshot.full()
        if self.directory is not None:
            self.directory.write_checkpoint(name, checkpoint(full))


def _figures(health: Health | None) -> dict[str, Any]:
    return {} if health is None else {"gradient_norm": health.gradient_norm, "update_ratio": health.update_ratio}


def _health(health: Health, before: dict[str, Any] | None) -> dict[str, Any]:
    """The last figures, with the parameters whose lengths change least and most, and all findings so far."""
    findings = [*(before["findings"] if before else ()), *map(asdict, health.findings)]
    names = sorted(health.shares, key=health.shares.__getitem__)
    ends = {"smallest": names[0], "largest": names[-1]} if names else {}
    ratios = {end: {"parameter": name, "update_ratio": health.shares[name]} for end, name in ends.items()}
    return {**_figures(health), **ratios, "findings": findings}


def _verdict(certificate: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """What the summary says of the checks so far: the worst of them."""
    now = {
        "verdict": certificate["verdict"],
        "worst": {"error": certificate["error"], "digits": certificate["digits"]},
        "coverage": certificate["coverage"],
    }
    return (
        now
        if before is None
        else max(before, now, key=lambda v: (ORDER.index(v["verdict"]), v["worst"]["error"] or 0.0))
    )
