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
    rows = 0

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
                        _save(run, directory, record)
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
            write_summary()


def _save(run: Run, directory: RunDirectory, record: Evaluated) -> None:
    settings = run.settings.fit
    evaluation = -(-record.epoch // settings.evaluate)
    last = record.epoch == settings.epochs or (settings.patience is not None and run.state.stale >= settings.patience)
    due = last or evaluation % settings.checkpoint.every == 0
    best = record.best and settings.checkpoint.best
    if due or best:
        contents = checkpoint(run.state)
        if due:
            directory.write_checkpoint("last", contents)
        if best:
            directory.write_checkpoint("best", contents)


def _verdict(certificate: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """What the summary says of the checks so far: the worst of them."""
    now = {
        "verdict": certificate["verdict"],
        "worst": {"error": certificate["error"], "digits": certificate["digits"]},
        "coverage": certificate["coverage"],
    }
    return now if before is None or now["worst"]["error"] >= before["worst"]["error"] else before
