"""What the check costs: in seconds, in training steps, and in percent of the run that it is part of.

First whole processes of the default run, with the check of the first step that is the default, with one each 100 steps,
and without any. Then checks in a process that has made one before, beside that network's own eager steps. There is no
monitor of a training's health yet, so its cost is not here.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from process import BPTRAIN, whole
from table import Table, arguments
from workload import Workload, workloads

from bptrain.config.compose import compose, settings_of
from bptrain.train.fit import fit
from bptrain.train.record import Checked, Stepped
from bptrain.train.run import build

WITHOUT, FIRST, OFTEN = "no check", "the first step, the default", "the first step, and each 100 steps"
WAYS = {WITHOUT: ["check.enabled=false"], FIRST: [], OFTEN: ["check.every=100"]}
WARM, TIMED = 5, 40  # steps before those that are timed, and these
COLUMNS = {"run, s": ".2f", "checks, s": ".3f", "in steps": ".1f", "% of the run": ".1f"}


def processes(table: Table, epochs: int, repetitions: int) -> None:
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repetitions):
        for way, words in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds[way].append(whole([BPTRAIN, f"fit.epochs={epochs}", *words], folder=folder).seconds)
    steps = build(settings_of(compose([f"fit.epochs={epochs}"]))).total_steps
    table.section(f"the default run, {steps} steps, whole processes")
    for way, taken in seconds.items():
        pairs = list(zip(taken, seconds[WITHOUT], strict=True))
        more = [median(a - b for a, b in pairs), None, median(100 * (a - b) / b for a, b in pairs)]
        table.row(way, median(taken), *(more if way != WITHOUT else ()))


def once(workload: Workload) -> tuple[float, float, int]:
    """Seconds of the check of the first step, and of a step without; and the steps of the run."""
    run, begun = build(settings_of(compose([*workload.words, "fit.epochs=60"]))), 0.0
    checked = step = 0.0
    for record in fit(run):
        if isinstance(record, Checked):
            checked = record.seconds
        elif isinstance(record, Stepped) and record.step == WARM:
            begun = time.perf_counter()
        elif isinstance(record, Stepped) and record.step == WARM + TIMED:
            step = (time.perf_counter() - begun) / TIMED
            break
    return checked, step, run.total_steps


def within(table: Table, workload: Workload, repetitions: int) -> None:
    once(workload)  # loads what the check needs
    checks, steps, totals = zip(*(once(workload) for _ in range(repetitions)), strict=True)
    ratios = [checked / step for checked, step in zip(checks, steps, strict=True)]
    table.row(
        workload.name, totals[0] * median(steps), median(checks), median(ratios), 100 * median(ratios) / totals[0]
    )


def main() -> None:
    given = arguments(__doc__, 5)
    table = Table("check", "Cost of the check, one thread", COLUMNS, "checks, s", given)
    processes(table, 2 if given.quick else 60, given.repetitions)
    table.section(
        "one check of a step of 32 rows, in a process that has checked before; runs of 60 epochs, steps alone"
    )
    with tempfile.TemporaryDirectory() as folder:
        for workload in workloads(Path(folder), given.quick):
            within(table, workload, given.repetitions)
    table.note("health monitoring is not measured: there is none yet")
    table.write()


if __name__ == "__main__":
    main()
