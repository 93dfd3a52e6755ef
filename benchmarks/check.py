"""What the check and health monitoring cost: in seconds, in training steps, and in percent of the run.

First whole processes of the default run, with the check of the first step that is the default, with one each 100 steps,
and without any. Then checks in a process that has made one before, beside that network's own eager steps. At last runs
with `fit.health` and without, in turn, unchecked: each evaluates after every epoch, and is measured as often.
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
COLUMNS = {"run, s": ".2f", "cost, s": ".3f", "in steps": ".1f", "% of the run": ".1f"}


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


def monitored(table: Table, name: str, words: tuple[str, ...], repetitions: int) -> None:
    """The row of a run with health monitoring, by pairs of runs with and without it, each first in every other pair."""

    def seconds(health: bool) -> float:
        run = build(settings_of(compose([*words, "check.enabled=false", f"fit.health={str(health).lower()}"])))
        begun = time.perf_counter()
        for _ in fit(run):
            pass
        return time.perf_counter() - begun

    seconds(True)  # warms up
    pairs = []
    for number in range(repetitions):
        taken = {health: seconds(health) for health in (number % 2 == 0, number % 2 == 1)}
        pairs.append((taken[True], taken[False]))
    steps = build(settings_of(compose(words))).total_steps
    run, cost = median(a for a, _ in pairs), median(a - b for a, b in pairs)
    table.row(name, run, cost, cost / run * steps, median(100 * (a - b) / b for a, b in pairs))


def main() -> None:
    given = arguments(__doc__, 5)
    table = Table("check", "Cost of the check and of health monitoring, one thread", COLUMNS, "cost, s", given)
    processes(table, 2 if given.quick else 60, given.repetitions)
    table.section(
        "one check of a step of 32 rows, in a process that has checked before; runs of 60 epochs, steps alone"
    )
    with tempfile.TemporaryDirectory() as folder:
        for workload in workloads(Path(folder), given.quick):
            within(table, workload, given.repetitions)
    table.section("health monitoring, on by default: a step of each epoch; whole runs in one process, unchecked")
    short = ("fit.epochs=2",) if given.quick else ()
    for name in ("digits_mlp", "digits_cnn", "digits_gru"):
        monitored(table, name, (f"experiment={name}", *short), given.repetitions)
    table.write()


if __name__ == "__main__":
    main()
