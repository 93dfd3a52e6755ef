"""Writes what happens in a run to its directory while the records pass by."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

from bptrain.config.compose import Config
from bptrain.runs.directory import RunDirectory
from bptrain.runs.lock import lock
from bptrain.train.checkpoint import checkpoint
from bptrain.train.record import Checked, Evaluated, Finished, Record, Stepped
from bptrain.train.run import Run


def keep(run: Run, config: Config, directory: RunDirectory, records: Iterable[Record]) -> Iterator[Record]:
    """Passes the records on, each after what it brings is on disk.

    However it ends, `summary.json` is written: `finished`, `failed` with the reason, or `interrupted`.
    """
    start = time.perf_counter()
    directory.write_config(config, run.settings.name)
    directory.write_json("lock.json", lock(config, run.dataset.fingerprint, run.settings.seed, str(run.device)))
    summary: dict[str, Any] = {"status": "interrupted", "monitor": run.monitor, "mode": run.mode}
    rows, checkpoints = 0, _Checkpoints(run, directory)

    def write_summary() -> None:
        seconds = time.perf_counter() - start
        totals = {"steps": run.state.step, "epochs": run.state.epoch, "seconds": round(seconds, 3)}
        summary.update(totals, samples_per_second=round(rows / seconds, 1))
        directory.write_json("summary.json", summary)

    with closing(directory.lines("metrics.jsonl")) as metrics:

        def write_metrics(part: str, epoch: int, step: int, lr: float, scores: dict[str, float]) -> None:
            line = {"step": step, "epoch": epoch, "split": part, **scores, "lr": lr}
            metrics.append(json.dumps(line | {"seconds": round(time.perf_counter() - start, 3)}))

        lr = 0.0
        try:
            for record in records:
                match record:
                    case Stepped():
                        rows += record.rows
                        checkpoints.after_step()
                    case Checked():
                        certificate = record.report.to_json() | {"step": record.step, "seconds": record.seconds}
                        summary["gradients"] = _verdict(certificate, summary.get("gradients"))
                        directory.write_json("gradients.json", certificate)
                    case Evaluated():
                        lr = record.lr
                        for part, scores in record.scores.items():
                            write_metrics(part, record.epoch, record.step, lr, scores)
                        summary["final"] = record.scores
                        if record.best:
                            summary["best"] = {"epoch": record.epoch, "step": record.step, **record.scores}
                    case Finished():
                        summary["test"] = record.scores
                        summary["stopped_early"] = record.early
                        if record.scores:
                            write_metrics("test", record.epoch, record.step, lr, record.scores)
                        summary["status"] = "finished"
                        write_summary()
                yield record
        except Exception as error:
            summary |= {"status": "failed", "reason": str(error)}
            raise
        finally:
            if run.state.step:
                checkpoints.write()
            write_summary()


class _Checkpoints:
    """Writes `last` and `best` when they are due: each write waits for the disk, which costs more than an epoch can."""

    def __init__(self, run: Run, directory: RunDirectory) -> None:
        self.state, self.directory, self.settings = run.state, directory, run.settings.fit.checkpoint
        self.written, self.best_step = time.perf_counter(), 0

    def after_step(self) -> None:
        seconds, every = self.settings.seconds, self.settings.every
        if time.perf_counter() - self.written >= seconds if seconds is not None else self.state.step % int(every) == 0:
            self.write()

    def write(self) -> None:
        state = self.state
        self.directory.write_checkpoint("last", checkpoint(state.snapshot()))
        if self.settings.best and state.best is not None and state.best_step != self.best_step:
            self.directory.write_checkpoint("best", checkpoint(state.best))
            self.best_step = state.best_step
        self.written = time.perf_counter()


def _verdict(certificate: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """What the summary says of the checks so far: the worst of them."""
    now = {
        "verdict": certificate["verdict"],
        "worst": {"error": certificate["error"], "digits": certificate["digits"]},
        "coverage": certificate["coverage"],
    }
    return now if before is None or now["worst"]["error"] >= before["worst"]["error"] else before
