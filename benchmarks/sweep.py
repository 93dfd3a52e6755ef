"""A sweep of 64 jobs, 8 rates times 8 seeds of the default network: whole processes, from command to results.

bptrain's sweeps check each job's gradients, and write each job's run directory, as by default. Hydra's launchers and
Optuna run the plain loop (benchmarks/plain.py) for as many epochs on the same data, which writes and checks nothing. A
job has one thread; a population, the process executor and joblib have a process for each core. The population is
compiled once into an empty cache, and found there from then on.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from process import BPTRAIN, HERE, PYTHON, whole
from table import WITHOUT, Table, arguments, at_least

RATES = ("1e-4", "2e-4", "5e-4", "1e-3", "2e-3", "3e-3", "5e-3", "1e-2")
POPULATION, ONE = "bptrain, population", "bptrain, population in one process"
SERIAL, PROCESS = "bptrain, serial executor", "bptrain, process executor"
BASIC, JOBLIB = "Hydra's basic launcher, plain loop", "Hydra's joblib launcher, plain loop"
OPTUNA = "Optuna, plain loop"


def bptrain(epochs: int, seeds: int, *words: str) -> list[str]:
    swept = [f"optimizer.lr={','.join(RATES)}", f"seed=range({seeds})"]
    return [BPTRAIN, "-m", f"fit.epochs={epochs}", *swept, *words]


def hydra(epochs: int, seeds: int, *words: str) -> list[str]:
    swept = [f"lr={','.join(RATES)}", f"seed=range({seeds})"]
    return [PYTHON, str(HERE / "plain_hydra.py"), "-m", f"epochs={epochs}", *swept, "hydra.sweep.dir=jobs", *words]


def commands(epochs: int, seeds: int) -> dict[str, list[str]]:
    return {
        POPULATION: bptrain(epochs, seeds, "sweep.executor=population"),
        ONE: bptrain(epochs, seeds, "sweep.executor=population", "sweep.processes=1"),
        SERIAL: bptrain(epochs, seeds),
        PROCESS: bptrain(epochs, seeds, "sweep.executor=process"),
        BASIC: hydra(epochs, seeds),
        JOBLIB: hydra(epochs, seeds, "hydra/launcher=joblib"),
        OPTUNA: [PYTHON, str(HERE / "plain_optuna.py"), f"{epochs}", f"{seeds}", *RATES],
    }


def missing(way: str) -> bool:
    plugins = {JOBLIB: ("hydra_plugins", "hydra_plugins.hydra_joblib_launcher"), OPTUNA: ("optuna",)}
    return not all(find_spec(module) for module in plugins.get(way, ()))


def main() -> None:
    given = arguments(__doc__, 3)
    epochs, seeds = (2, 2) if given.quick else (60, 8)
    columns = {"seconds": ".1f", "of serial": ".2f", "of population": ".2f", "target": ""}
    title = f"A sweep of {len(RATES) * seeds} jobs, {epochs} epochs each, whole processes"
    table = Table("sweep", title, columns, "seconds", given)
    ways = commands(epochs, seeds)
    present = {way: command for way, command in ways.items() if not missing(way)}
    times: dict[str, list[float]] = {way: [] for way in present}
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
        cold = timed(ways[POPULATION], env)
        for repetition in range(given.repetitions):
            for way in list(present)[:: 1 if repetition % 2 else -1]:
                times[way].append(timed(present[way], env))
                print(f"  {way}: {times[way][-1]:.1f} s", file=sys.stderr, flush=True)
    table.section("")
    table.row(f"{POPULATION}, empty cache, once", cold)
    for way in ways:
        if way not in present:
            table.row(way, remark=f"not measured: its package is missing; {WITHOUT}")
            continue
        serial, population = (
            median(a / b for a, b in zip(times[way], times[base], strict=True)) for base in (SERIAL, POPULATION)
        )
        targets = {SERIAL: 12, JOBLIB: 8}  # how many times as fast the population has to be
        target = at_least(targets[way], population) if way in targets else None
        table.row(way, median(times[way]), serial, population, target)
    table.note(f"{os.cpu_count()} cores")
    table.write()


def timed(command: list[str], env: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return whole(command, folder=Path(folder), env=env).seconds


if __name__ == "__main__":
    main()
