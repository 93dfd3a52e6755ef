"""Start-up: what a command takes as a whole process, beside an import that it can't do without.

What trains nothing stands beside `import hydra`; a run up to its first step beside `import torch`, and beside that with
the loading of its data. The commands take turns; a ratio is the median of those within each round. A first round is not
counted: it brings from the disk what has to come from there, and compiles all modules, as an installation has them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from statistics import median

from process import BPTRAIN, PYTHON, whole
from table import Table, arguments, at_most

HYDRA, TORCH = "import hydra", "import torch"
# The data of the default run, by the class that loads it there.
DATA = f"{TORCH}; from bptrain.data.bundled import Digits; Digits().load(0)"
LOADED = "import torch, and load the data"
# The least that a training needs: torch loads half of itself when its first optimizer is made.
ONE_STEP = f"{TORCH}; net = torch.nn.Linear(3, 2); adam = torch.optim.Adam(net.parameters()); \
net(torch.ones(4, 3)).sum().backward(); adam.step()"
ERRORS = (
    "optimizer.lr=-1 model.sizs=[3]",
    "fit.epochs=abc",
    "model=mpl",
    "model.name=mpl",
    "experiment=iris_mpl",
    "experiment=mnist1d_gru seed=x",
    "model=sequential seed=-1",
    "check optimizer.lr=-1",
    "-m optimizer.lr=-1 seed=0,1",
)
# Each with the exit code that it has to end with.
COMMANDS = {
    HYDRA: (0, [PYTHON, "-c", HYDRA]),
    "bptrain --help": (0, [BPTRAIN, "--help"]),
    "bptrain runs": (0, [BPTRAIN, "runs"]),
    "bptrain --cfg job": (0, [BPTRAIN, "--cfg", "job"]),
    **{f"bptrain {words}": (2, [BPTRAIN, *words.split()]) for words in ERRORS},
    TORCH: (0, [PYTHON, "-c", TORCH]),
    LOADED: (0, [PYTHON, "-c", DATA]),
    "plain torch, one step of Adam": (0, [PYTHON, "-c", ONE_STEP]),
}
# Runs of one step, and the beginning of the line that tells of its end; the check's verdict is the last thing before.
ONE_BATCH = ["fit.epochs=1", "fit.batch_size=2000"]
RUNS = {
    "run without check, past step 1": ([*ONE_BATCH, "check.enabled=false"], "epoch"),
    "run with check, to step 1": (ONE_BATCH, "Gradients"),
}


def environment(folder: str) -> dict[str, str]:
    """That of all commands: compiled modules are kept, in the folder, whatever is usual here."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": f"{folder}/compiled"}


def training(words: list[str], beginning: str, folder: str) -> float:
    """Seconds from the start of the default run, with some words, to the first line of output that begins so."""
    begun, elapsed, command, env = time.perf_counter(), 0.0, [BPTRAIN, *words], environment(folder)
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout or ():
            if line.startswith(beginning) and not elapsed:
                elapsed = time.perf_counter() - begun
    if run.returncode or not elapsed:
        sys.exit(f"bptrain {' '.join(words)}: exit code {run.returncode}, and no line begins with '{beginning}'")
    return elapsed


def target(name: str, of_hydra: float, of_data: float) -> str | None:
    """What trains nothing at most 2 of `import hydra`, the first step at most 1.5 of torch and data."""
    if name in RUNS:
        return at_most(1.5, of_data)
    return at_most(2, of_hydra) if name.startswith("bptrain") else None


def main() -> None:
    given = arguments(__doc__, 7)
    seconds: dict[str, list[float]] = {name: [] for name in (*COMMANDS, *RUNS)}
    with tempfile.TemporaryDirectory() as folder:
        for counted in range(given.repetitions + 1):
            once = {
                name: whole(command, folder=folder, env=environment(folder), code=code).seconds
                for name, (code, command) in COMMANDS.items()
            }
            once |= {name: training(words, beginning, folder) for name, (words, beginning) in RUNS.items()}
            for name, elapsed in once.items() if counted else ():
                seconds[name].append(elapsed)
    columns = {"ms": ".0f", "of hydra": ".2f", "of torch": ".2f", "of torch and data": ".2f", "target": ""}
    table = Table("startup", "Start-up, whole processes", columns, "ms", given)
    table.section("")
    for name, taken in seconds.items():
        ratios = [median(a / b for a, b in zip(taken, seconds[base], strict=True)) for base in (HYDRA, TORCH, LOADED)]
        table.row(name, median(taken) * 1e3, *ratios, target(name, ratios[0], ratios[2]))
    table.write()


if __name__ == "__main__":
    main()
