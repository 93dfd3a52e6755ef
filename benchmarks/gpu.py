"""Time per step on an NVIDIA GPU: a plain torch loop, bptrain's compiled steps, and those replayed as CUDA graphs.

Data are on the GPU, nothing is checked, evaluated or written, and steps follow each other without waiting for results.
Engines take turns; a ratio is the median of those within each repetition. Operations are those that torch counts in
matrix products and convolutions of a step, forward and backward, and `of peak` is their share of what the card's data
sheet says of the precision. `--peak` is that number in TFLOP/s where the card is not among those that are known here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from networks import cnn, mlp
from table import Table, arguments
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode
from workload import Workload, write_images

from bptrain.config.compose import compose, settings_of
from bptrain.train.compiled import Compiled
from bptrain.train.engine import Engine
from bptrain.train.fit import steps_of
from bptrain.train.graph import Capture, Graph, captured
from bptrain.train.precision import Precision
from bptrain.train.run import Run, build

PLAIN, EAGER, COMPILED, GRAPH = "plain loop", "bptrain, eager", "bptrain, compiled", "bptrain, graph"
STEPS = 200  # of a repetition
# Dense TFLOP/s by the name that torch gives, from NVIDIA's data sheets: https://www.nvidia.com/en-us/data-center/h100/,
# h200/, a100/ and l4/. Where they give tensor cores with sparsity, half of that.
PEAKS: dict[str, dict[Precision, float]] = {
    "NVIDIA H100 PCIe": {"fp32": 51, "tf32": 378, "bf16": 756},
    "NVIDIA H100 80GB HBM3": {"fp32": 67, "tf32": 494.5, "bf16": 989.5},
    "NVIDIA H200": {"fp32": 67, "tf32": 494.5, "bf16": 989.5},
    "NVIDIA A100": {"fp32": 19.5, "tf32": 156, "bf16": 312},
    "NVIDIA L4": {"fp32": 30.3, "tf32": 60, "bf16": 121},
}
Make = Callable[[list[Tensor]], object]  # a step


def workloads(folder: Path) -> list[Workload]:
    wide = ("model.sizes=[4096,4096,4096]", "fit.batch_size=1024")
    images = ("data=mnist", f"data.folder={folder}", "model=cnn", "model.norm=batch", "fit.batch_size=256")
    write_images(folder)
    return [
        Workload("64-128-128-128-10, batches of 32", (), partial(mlp, 128, 128, 128), {}),
        Workload("64-4096-4096-4096-10, batches of 1024", wide, partial(mlp, 4096, 4096, 4096), {}),
        Workload("2-d CNN on 28x28, batches of 256", images, cnn, {}),
    ]


def begun(workload: Workload, precision: Precision, device: str) -> Run:
    words = ("check.enabled=false", f"precision={precision}", f"device={device}")
    return build(settings_of(compose([*workload.words, *words])))


def plain(run: Run, network: nn.Module) -> Make:
    network, loss_of, part = network.to(run.device), nn.CrossEntropyLoss(), run.dataset.parts["train"]
    optimizer = Adam(network.parameters(), 1e-3, fused=True)

    def step(batches: list[Tensor]) -> Tensor:
        (rows,) = batches
        optimizer.zero_grad()
        with run.casts:
            loss = loss_of(network(part.inputs[rows]), part.targets[rows])
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def by_engine(run: Run, kind: str, capture: Capture) -> Make:
    engine: Engine = run.engine
    if kind != EAGER:
        engine = compiled = Compiled(run.engine, full(run)[0])  # type: ignore[arg-type]
        compiled.compile()
        engine = Graph(compiled, capture) if kind == GRAPH else compiled

    def step(batches: list[Tensor]) -> Tensor:
        loss = engine.step(batches)
        run.state.step += 1
        return loss

    return step


def full(run: Run) -> list[list[Tensor]]:
    """The steps of an epoch but for a smaller last one."""
    return [step for step in steps_of(run, 0) if len(step[0]) == run.batch_size]


def seconds(step: Make, batches: list[list[Tensor]], count: int) -> float:
    """Of one step among `count`."""
    for number in range(3):
        step(batches[number % len(batches)])
    torch.accelerator.synchronize()
    start = time.perf_counter()
    for number in range(count):
        step(batches[number % len(batches)])
    torch.accelerator.synchronize()
    return (time.perf_counter() - start) / count


def measure(
    workload: Workload, precision: Precision, peak: float | None, table: Table, device: str, capture: Capture
) -> None:
    count, start = (5 if table.given.quick else STEPS), begun(workload, precision, device)
    batches = full(start)
    steps = {PLAIN: plain(start, workload.network())}
    with FlopCounterMode(display=False) as counter:
        steps[PLAIN](batches[0])
    for kind in (EAGER, COMPILED, GRAPH):
        steps[kind] = by_engine(begun(workload, precision, device), kind, capture)
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    for repetition in range(table.given.repetitions):
        for kind in list(steps)[:: 1 if repetition % 2 else -1]:
            times[kind].append(seconds(steps[kind], batches, count))
    table.section(f"{workload.name}, {precision}")
    for kind, found in times.items():
        ratio = median(a / b for a, b in zip(found, times[PLAIN], strict=True))
        rate = counter.get_total_flops() / median(found) / 1e12
        table.row(kind, median(found) * 1e6, ratio, rate, rate / peak if peak else None)


def main() -> None:
    own, asked = argparse.ArgumentParser(add_help=False), sys.argv
    own.add_argument("--peak", type=float)
    peak, rest = own.parse_known_args()
    sys.argv = [sys.argv[0], *rest]
    given = arguments(__doc__, 5)
    sys.argv = asked
    columns = {"us/step": ".1f", "of plain": ".2f", "TFLOP/s": ".2f", "of peak": ".1%"}
    table = Table("gpu", "Time per step on a GPU", columns, "of plain", given)
    if not torch.cuda.is_available():
        return table.row("none of it", remark="not measured: torch finds no NVIDIA GPU here")
    name = torch.cuda.get_device_name()
    known = next((peaks for start, peaks in PEAKS.items() if name.startswith(start)), {})
    table.note(name)
    with tempfile.TemporaryDirectory() as folder:
        for workload in workloads(Path(folder).absolute()):
            for precision in ("fp32", "tf32", "bf16"):
                measure(workload, precision, peak.peak or known.get(precision), table, "cuda", captured)
    return table.write()


if __name__ == "__main__":
    main()
