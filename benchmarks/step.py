"""Time per step: `bptrain` beside a plain torch loop that trains the same network on the same batches.

The loop writes and prints nothing. Both must end with the same weights to the last bit. They alternate in one process;
a ratio is the median of those within each repetition. The check before the first step is left out, and timed apart.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from bptrain.config.compose import Config, compose, settings_of
from bptrain.report.console import Console
from bptrain.runs.directory import OUTPUTS, RunDirectory
from bptrain.runs.record import keep
from bptrain.train.fit import fit
from bptrain.train.order import permutation
from bptrain.train.record import Record
from bptrain.train.run import Run, build

Timed = tuple[float, nn.Module]  # seconds, and the network that has been trained


class GRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 64, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x.squeeze(1))[1][-1])  # (B, 1, 8, 8) -> (B, 8, 8) -> (B, 64) -> (B, 10)


def mlp() -> nn.Module:
    first, second, third = ([nn.Linear(width, 128), nn.Sigmoid()] for width in (64, 128, 128))
    return nn.Sequential(nn.Flatten(), *first, *second, *third, nn.Linear(128, 10))


def cnn() -> nn.Module:
    first = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(128, 10))


def plain(start: Run, network: nn.Module, fused: bool | None) -> Timed:
    """The loop that one writes without bptrain; `start` is a run that has not begun."""
    network.load_state_dict(dict(zip(network.state_dict(), start.state.model.state_dict().values(), strict=True)))
    settings, loss_of, history = start.settings, nn.CrossEntropyLoss(), []
    train, validation = start.dataset.parts["train"], start.dataset.parts["validation"]
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.optimizer.lr, fused=fused)
    varying = settings.scheduler.name == "one_cycle"
    rates = OneCycleLR(optimizer, settings.optimizer.lr, start.total_steps, cycle_momentum=False) if varying else None
    begun = time.perf_counter()
    for epoch in range(settings.fit.epochs):
        total = torch.zeros(())
        steps = permutation(len(train.inputs), settings.seed, epoch).split(settings.fit.batch_size)
        for rows in steps:
            optimizer.zero_grad()
            loss = loss_of(network(train.inputs[rows]), train.targets[rows])
            loss.backward()
            optimizer.step()
            if rates is not None:
                rates.step()
            total += loss.detach()
        network.eval()
        with torch.no_grad():
            outputs = network(validation.inputs)
            accuracy = (outputs.argmax(1) == validation.targets).float().mean()
            history.append([s.item() for s in (total / len(steps), loss_of(outputs, validation.targets), accuracy)])
        network.train()
    return time.perf_counter() - begun, network


def alone(run: Run) -> Timed:
    """`fit` with nobody who shows or writes its records."""
    begun = time.perf_counter()
    deque(fit(run), maxlen=0)
    return time.perf_counter() - begun, run.state.model


def whole(run: Run, config: Config, folder: Path) -> Timed:
    """A run from its first step to its summary on disk, as `bptrain.sweep.job` drives it; the console is a pipe."""
    begun = []

    def records() -> Iterator[Record]:
        begun.append(time.perf_counter())  # the first record is asked for: lock and config are on disk by now
        yield from fit(run)

    directory = RunDirectory(Path(tempfile.mkdtemp(dir=folder)))
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as reader:
        with redirect_stdout(reader.stdin), closing(directory.lines("train.log")) as log:
            console = Console(log=log)
            console.header(run, config.overrides)
            with console.live(run) as show:
                deque(show(keep(run, config, directory, records())), maxlen=0)
        return time.perf_counter() - begun[0], run.state.model


def measure(words: list[str], network: Callable[[], nn.Module], repetitions: int, folder: Path) -> None:
    checked = next(fit(build(settings_of(compose(words)))))
    settings = settings_of(config := compose([*words, "check.enabled=false"]))
    ways: dict[str, Callable[[], Timed]] = {
        "plain loop, fused optimizer": lambda: plain(build(settings), network(), True),
        "plain loop, torch's default": lambda: plain(build(settings), network(), None),
        "bptrain, only its fit": lambda: alone(build(settings)),
        "bptrain, disk and console": lambda: whole(build(settings), config, folder),
    }
    fused, default, _, bptrain = ways
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for repetition in range(repetitions):
        weights = {}
        for way in list(ways)[:: 1 if repetition % 2 else -1]:  # so that none always follows the same one
            taken, weights[way] = ways[way]()
            seconds[way].append(taken)
        if not torch.equal(*(nn.utils.parameters_to_vector(weights[way].parameters()) for way in (fused, bptrain))):
            raise SystemExit(f"{settings.name}: bptrain and the plain loop end with different weights: no comparison")
    steps, epochs = build(settings).total_steps, settings.fit.epochs
    print(f"\n{settings.name}: {epochs} epochs, {steps} steps; the check takes {checked.seconds:.2f} s")
    print(f"  {'':<32}{'us/step':>9}{'of fused':>10}{'of default':>12}")
    for way, times in seconds.items():
        ratios = (median(a / b for a, b in zip(times, seconds[base], strict=True)) for base in (fused, default))
        print(f"  {way:<32}{median(times) / steps * 1e6:>9.0f}{next(ratios):>10.2f}{next(ratios):>12.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5, help="of each measurement (5)")
    repetitions = parser.parse_args().repetitions
    print(f"time per step, torch {torch.__version__}; medians of {repetitions}, target: bptrain at most 1.10 of fused")
    OUTPUTS.mkdir(exist_ok=True)  # the disk that runs are written to
    with tempfile.TemporaryDirectory(prefix="benchmark_", dir=OUTPUTS) as folder:
        measure([], mlp, repetitions, Path(folder))  # the default run; the others are cut short
        measure(["experiment=digits_cnn", "fit.epochs=5"], cnn, repetitions, Path(folder))
        measure(["experiment=digits_gru", "fit.epochs=5"], GRU, repetitions, Path(folder))


if __name__ == "__main__":
    main()
