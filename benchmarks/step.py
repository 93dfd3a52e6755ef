"""Time per step: bptrain beside a plain torch loop and other trainers, on the same networks and the same batches.

All run in one process, on one thread, and take turns; a ratio is the median of those within each repetition. The first
epoch is not counted: it holds what each does once, such as tracing and loading a program, and is shown as `start`. The
plain loop writes and prints nothing; bptrain writes its files and shows its progress to a pipe, with its check left out
(benchmarks/check.py has that), and judges the test part at its end, as the plain loop does not. The plain loop with a
fused optimizer, and bptrain's eager engine, must end with the same weights to the last bit. The population is 8 rates
times 8 seeds, cut into groups as its executor does; a few of these are trained, without writing. Targets are ratios to
the plain loop with the fused optimizer, the faster one.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median

import torch
from peers import PEERS, Task
from plain import rows_of, train
from table import WITHOUT, Table, arguments, at_most
from torch import nn
from torch.optim import Adam
from workload import Workload, same_weights, workloads

from bptrain.config.compose import compose, settings_of
from bptrain.runs.directory import OUTPUTS
from bptrain.sweep.job import job
from bptrain.sweep.plan import plan
from bptrain.sweep.population import _data, _parts
from bptrain.train.fit import fit
from bptrain.train.member import Member
from bptrain.train.order import permutation
from bptrain.train.population import Population, Programs
from bptrain.train.record import Chosen, Evaluated, Record, Stepped
from bptrain.train.run import Run, build

UNCHECKED = "check.enabled=false"
MEMBERS = ("optimizer.lr=1e-4,2e-4,5e-4,1e-3,2e-3,3e-3,5e-3,1e-2", "seed=range(8)")
GROUPS = 4  # of a population that are timed
FUSED, DEFAULT, LOADER = "plain loop, fused optimizer", "plain loop, torch's default", "plain loop, DataLoader"
EAGER, COMPILED, BF16 = "bptrain, eager", "bptrain, compiled", "bptrain, compiled, bf16"
ALONE = "bptrain, compiled, only its fit"


class Clock:
    """Seconds of first epochs, and of those after them, of so many networks."""

    def __init__(self) -> None:
        self.first = self.rest = 0.0
        self.networks = 0

    def begin(self, networks: int = 1) -> None:
        self.networks += networks
        self.mark, self.waiting = time.perf_counter(), True

    def epoch(self) -> None:
        if self.waiting:
            now = time.perf_counter()
            self.first, self.mark, self.waiting = self.first + now - self.mark, now, False

    def end(self) -> None:
        self.rest += time.perf_counter() - self.mark


Way = Callable[[Clock], nn.Module | None]  # trains, and returns the network where it is to be compared


def plain(workload: Workload, fused: bool | None, loader: bool, clock: Clock) -> nn.Module:
    start, network = begun(workload), workload.network()
    weights = start.state.model.state_dict().values()
    network.load_state_dict(dict(zip(network.state_dict(), weights, strict=True)))
    task, settings = task_of(start, network, workload), start.settings
    optimizer = Adam(network.parameters(), settings.optimizer.lr, fused=fused)
    order = partial(permutation, len(task.train[0]), settings.seed)
    shuffled = task.loader()
    batches = (lambda _: shuffled) if loader else rows_of(task.train, order, task.batch_size)
    clock.begin()
    train(network, optimizer, task.epochs, batches, task.validation, clock.epoch)
    clock.end()
    return network


def bptrain(workload: Workload, words: tuple[str, ...], folder: Path, clock: Clock) -> nn.Module:
    """A run with its disk and its console, which is a pipe."""
    config = compose([*workload.words, UNCHECKED, *words])
    run = build(settings_of(config))
    reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    with reader, redirect_stdout(reader.stdin):
        follow(job(run, config, fit(run), Path(tempfile.mkdtemp(dir=folder))), clock)
    return run.state.model


def alone(workload: Workload, words: tuple[str, ...], clock: Clock) -> nn.Module:
    """`fit` with nobody who shows or writes its records."""
    run = build(settings_of(compose([*workload.words, UNCHECKED, *words])))
    follow(fit(run), clock)
    return run.state.model


def follow(records: Iterable[Record], clock: Clock) -> None:
    clock.begin()
    for record in records:
        if isinstance(record, Evaluated):
            clock.epoch()
    clock.end()


def peer(workload: Workload, trainer: Callable[[Task, Callable[[], object]], None], clock: Clock) -> None:
    task = task_of(begun(workload), workload.network(), workload)
    clock.begin()
    trainer(task, clock.epoch)
    clock.end()


def population(workload: Workload, clock: Clock) -> None:
    programs, parts = Programs(), groups(workload)
    for done, members in enumerate(parts[:GROUPS]):
        evaluated = 0
        clock.begin(len(members))
        for _, record in Population(members, *_data(members), programs, len(parts) - done).fit():
            evaluated += isinstance(record, Evaluated)
            if evaluated == len(members):
                clock.epoch()
        clock.end()


def groups(workload: Workload) -> list[list[Member]]:
    """The population in the groups that its executor makes."""
    trials = plan([*workload.words, UNCHECKED, *MEMBERS])
    together = [(trial, Member(trial.number, build(trial.settings))) for trial in trials]
    return [[member for _, member in part] for part in _parts(together)]


def begun(workload: Workload) -> Run:
    """The run before its first step."""
    return build(settings_of(compose([*workload.words, UNCHECKED])))


def task_of(start: Run, network: nn.Module, workload: Workload) -> Task:
    parts, settings = start.dataset.parts, start.settings
    examples = [(parts[name].inputs, parts[name].targets) for name in ("train", "validation")]
    rate = settings.optimizer.lr  # type: ignore[attr-defined]
    return Task(network, *examples, settings.fit.epochs, start.batch_size, rate, workload.sizes)


def compiled_cold(workload: Workload, words: tuple[str, ...]) -> str:
    """Compiles the step of a run into the cache; what came of it."""
    told = ""
    for record in fit(build(settings_of(compose([*workload.words, UNCHECKED, *words])))):
        told = record.why if isinstance(record, Chosen) else told
        if isinstance(record, Stepped):
            break
    return told.removeprefix("fit.engine=compiled, ")


def population_cold(workload: Workload) -> str:
    """The same for the population, as if the whole of it were long enough for compiling to pay."""
    members, told = groups(workload)[0], ""
    for _, record in Population(members, *_data(members), Programs(), share=10**6).fit():
        told = record.why if isinstance(record, Chosen) else told
        if isinstance(record, Evaluated):
            break
    return told


def measure(workload: Workload, table: Table, repetitions: int, folder: Path) -> None:
    compiled = ("fit.engine=compiled",)
    half = (*compiled, "precision=bf16")
    named = "population of 64, a member"
    ways: dict[str, Way] = {
        FUSED: partial(plain, workload, True, False),
        DEFAULT: partial(plain, workload, None, False),
        LOADER: partial(plain, workload, None, True),
        EAGER: partial(bptrain, workload, (), folder),
        COMPILED: partial(bptrain, workload, compiled, folder),
        ALONE: partial(alone, workload, compiled),
        **({BF16: partial(bptrain, workload, half, folder)} if "bf16" in workload.targets else {}),
        named: partial(population, workload),
        **{name: partial(peer, workload, trainer) for name, trainer in PEERS.items()},
    }
    if not workload.sizes:
        del ways["scikit-learn"]
    targets = {EAGER: "eager", COMPILED: "compiled", BF16: "bf16", named: "population"}
    start, parts = begun(workload), groups(workload)
    counted = start.total_steps - start.steps_per_epoch
    table.section(f"{workload.name}: {start.settings.fit.epochs} epochs, {start.total_steps} steps")
    cold = [f"{COMPILED}: {compiled_cold(workload, compiled)}"]
    cold += [f"{BF16}: {compiled_cold(workload, half)}"] if BF16 in ways else []
    cold += [f"population: {population_cold(workload)}"]
    times: dict[str, list[float]] = {way: [] for way in ways}
    firsts: dict[str, list[float]] = {way: [] for way in ways}
    missing: set[str] = set()
    for repetition in range(repetitions):
        networks: dict[str, nn.Module | None] = {}
        for name in list(ways)[:: 1 if repetition % 2 else -1]:  # so that none always follows the same one
            clock = Clock()
            try:
                networks[name] = ways[name](clock)
            except ImportError:
                missing.add(name)
                continue
            times[name].append(clock.rest / clock.networks / counted)
            firsts[name].append(clock.first)
        if not same_weights(networks[FUSED], networks[EAGER]):
            raise SystemExit(f"{workload.name}: bptrain and the plain loop end with different weights: no comparison")
    for name in ways:
        if name in missing:
            table.row(name, remark=f"not measured: its package is missing; {WITHOUT}")
            continue
        ratios = [median(a / b for a, b in zip(times[name], times[base], strict=True)) for base in (FUSED, DEFAULT)]
        asked = workload.targets.get(targets.get(name, ""))
        target = at_most(asked, ratios[0]) if asked is not None else None
        remark = f"{len(parts)} groups of {len(parts[0])}, {min(GROUPS, len(parts))} timed" if name == named else ""
        table.row(name, median(times[name]) * 1e6, *ratios, median(firsts[name]), target, remark=remark)
    for line in cold:
        table.note(f"{workload.name}, the first time on this machine - {line}")


def main() -> None:
    given = arguments(__doc__, 5)
    torch.set_num_threads(1)
    columns = {"us/step": ".0f", "of fused": ".2f", "of default": ".2f", "start, s": ".2f", "target": ""}
    table = Table("step", "Time per step, one thread", columns, "of fused", given)
    OUTPUTS.mkdir(exist_ok=True)  # the disk that runs are written to
    with tempfile.TemporaryDirectory(prefix="benchmark_", dir=OUTPUTS) as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/compiled"  # empty, so that compiling is seen once
        for workload in workloads(Path(folder).absolute(), given.quick):
            measure(workload, table, given.repetitions, Path(folder))
    table.note("versions: " + ", ".join(_versions()))
    table.write()


def _versions() -> list[str]:
    packages = ("lightning", "skorch", "pytorch-ignite", "keras", "scikit-learn")
    installed = {found.metadata["Name"].lower(): found.version for found in metadata.distributions()}
    return [f"{package} {installed.get(package, 'missing')}" for package in packages]


if __name__ == "__main__":
    main()
