"""Writes what happens in a run to its directory while the records pass by."""

from __future__ import annotations

import copy
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bptrain import interrupts
from bptrain.check.verdict import ORDER
from bptrain.files import to_json
from bptrain.runs.checkpoints import Checkpoints
from bptrain.runs.directory import RunDirectory
from bptrain.runs.lock import lock
from bptrain.train.compatible import PROGRESS
from bptrain.train.record import Checked, Chosen, Evaluated, Finished, Health, NonFinite, Record, Stepped
from bptrain.train.run import Run

if TYPE_CHECKING:
    from bptrain.config.compose import Config


FAULTS = 100  # steps that were not finite, and rows of each, that the summary names at the most


def keep(
    run: Run,
    config: Config,
    directory: RunDirectory,
    records: Iterable[Record],
    progress: dict[str, Any] | None = None,
) -> Generator[Record, None, None]:
    """Passes the records on, each after what it brings is on disk.

    However it ends, `summary.json` is written: `finished`, `failed` with the reason, or `interrupted`. A run that goes
    on from a checkpoint has the `progress` of its records from there, and what was written after it is gone.
    """
    if progress is None:
        directory.write_config(config, run.settings.name)
        locked = lock(config, run.settings, run.dataset.fingerprint, str(run.device))
        if run.ranks is not None:
            locked["distributed"] = run.ranks.facts(run.device)
        directory.write_json("lock.json", locked)
        progress = copy.deepcopy(PROGRESS)
        progress["summary"] |= {"status": "interrupted", "monitor": run.monitor, "mode": run.mode}
    else:
        locked = directory.read_json("lock.json")
    start = time.perf_counter() - progress["seconds"]
    summary: dict[str, Any] = progress["summary"]
    with (
        closing(directory.lines("metrics.jsonl", progress["metrics"], progress["digest"])) as metrics,
        interrupts.awaited(),
    ):

        def so_far() -> dict[str, Any]:
            metrics.sync()
            return progress | {
                "seconds": time.perf_counter() - start,
                "metrics": metrics.length,
                "digest": metrics.digest(),
            }

        def write_metrics(part: str, epoch: int, step: int, lr: float, scores: dict[str, float]) -> None:
            line = {"step": step, "epoch": epoch, "split": part, **scores, "lr": lr}
            metrics.append(to_json(line | {"seconds": round(time.perf_counter() - start, 3)}))

        checkpoints = Checkpoints(run, directory, so_far, progress["top"])
        kept = True  # all that the records so far bring; a state that is further on is not written
        try:
            try:
                for record in records:
                    kept = False
                    match record:
                        case Stepped():
                            progress["rows"] += record.rows
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
                            progress["lr"] = record.lr
                            for part, scores in record.scores.items():
                                figures = _figures(record.health) if part == "train" else {}
                                write_metrics(part, record.epoch, record.step, record.lr, scores | figures)
                            if record.health is not None:
                                summary["health"] = _health(record.health, summary.get("health"))
                            summary["final"] = record.scores
                            if record.best:
                                summary["best"] = {"epoch": record.epoch, "step": record.step, **record.scores}
                            if run.settings.fit.checkpoint.top:
                                checkpoints.after_evaluation(record)
                        case NonFinite():
                            found = {"step": record.step + 1, "epoch": record.epoch + 1, "what": record.what}
                            found |= {"call": record.origin.call, "rows": record.origin.rows[:FAULTS]}
                            summary["nonfinite"] = [*summary.get("nonfinite", ()), found][-FAULTS:]
                            checkpoints.before_fault(record)
                        case Finished():
                            checkpoints.write()  # before its lines: going on from here repeats them
                            summary["test"] = record.scores
                            summary["stopped_early"] = record.early
                            if record.scores:
                                write_metrics("test", record.epoch, record.step, progress["lr"], record.scores)
                            summary["status"] = "finished"
                    kept = True
                    yield record
                    interrupts.due()
            finally:
                # What each has a part of is put together by all, and one that fails does not know where the others are.
                if kept and run.state.current and summary["status"] != "finished" and checkpoints.together is None:
                    checkpoints.write()
        except Exception as error:
            summary |= {"status": "failed", "reason": str(error)}
            raise
        finally:
            seconds = time.perf_counter() - start
            summary |= {"steps": run.state.step, "epochs": run.state.epoch, "seconds": round(seconds, 3)}
            rate = round(progress["rows"] / seconds, 1)
            directory.write_json("summary.json", summary | {"samples_per_second": rate})


def follow(run: Run, records: Iterable[Record]) -> Generator[Record, None, None]:
    """Passes the records on in a process that keeps none; it helps to put the checkpoints of the first together."""
    checkpoints = Checkpoints(run, None, dict, [])
    for record in records:
        if isinstance(record, Stepped):
            checkpoints.after_step()
        if isinstance(record, Evaluated) and run.settings.fit.checkpoint.top:
            checkpoints.after_evaluation(record)
        if isinstance(record, Finished):
            checkpoints.write()
        yield record


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
