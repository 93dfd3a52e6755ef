"""The share of a plain eager step that its arithmetic takes alone: what no engine and no stacking can go below.

That is the time inside torch's own products, convolutions and fused recurrent kernels, by torch's profiler, on one
thread. Activations, loss, update and everything between the calls are left out, as if they cost nothing.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from table import Table, arguments
from workload import Workload, workloads

from bptrain.config.compose import compose, settings_of
from bptrain.train.fit import steps_of
from bptrain.train.run import build

ARITHMETIC = ("aten::mm", "aten::addmm", "aten::bmm", "convolution", "mkldnn_rnn_layer")
WARM, TIMED, PROFILED = 5, 30, 10


def measure(workload: Workload, table: Table) -> None:
    run = build(settings_of(compose([*workload.words, "check.enabled=false"])))
    steps = [step for epoch in range(3) for step in steps_of(run, epoch)][: WARM + TIMED + PROFILED]
    for step in steps[:WARM]:
        run.engine.step(step)
    begun = time.perf_counter()
    for step in steps[WARM : WARM + TIMED]:
        run.engine.step(step)
    whole = (time.perf_counter() - begun) / TIMED
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        for step in steps[WARM + TIMED :]:
            run.engine.step(step)
    events = [event for event in seen.key_averages() if any(name in event.key for name in ARITHMETIC)]
    alone = sum(event.self_cpu_time_total for event in events) / PROFILED / 1e6
    largest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:2]
    remark = ", ".join(event.key.removeprefix("aten::") for event in largest)
    table.row(workload.name, whole * 1e6, alone * 1e6, alone / whole, remark=remark)


def main() -> None:
    given = arguments(__doc__, 1)
    columns = {"us/step": ".0f", "arithmetic": ".0f", "share": ".2f"}
    table = Table("limits", "Arithmetic alone, of an eager step, one thread", columns, "share", given)
    table.section("")
    with tempfile.TemporaryDirectory() as folder:
        for workload in workloads(Path(folder), given.quick):
            measure(workload, table)
    table.write()


if __name__ == "__main__":
    main()
