"""Start-up: what a command takes as a whole process, beside an import that it can't do without.

What trains nothing stands beside `import hydra`, a run up to its first step beside `import torch` too. The commands
take turns; a ratio is the median of those within each round.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

BPTRAIN = str(Path(sys.executable).with_name("bptrain"))
HYDRA, TORCH = "import hydra", "import torch"
STEP, EPOCH = "bptrain, to its first step", "bptrain, to the end of epoch 1"
# The least that a training needs: torch loads half of itself when its first optimizer is made.
ONE_STEP = f"{TORCH}; net = torch.nn.Linear(3, 2); adam = torch.optim.Adam(net.parameters()); \
net(torch.ones(4, 3)).sum().backward(); adam.step()"
# Each with the exit code that it has to end with.
COMMANDS = {
    HYDRA: (0, [sys.executable, "-c", HYDRA]),
    "bptrain --help": (0, [BPTRAIN, "--help"]),
    "bptrain runs": (0, [BPTRAIN, "runs"]),
    "bptrain, two config errors": (2, [BPTRAIN, "optimizer.lr=-1", "model.sizs=[3]"]),
    TORCH: (0, [sys.executable, "-c", TORCH]),
    "plain torch, one step of Adam": (0, [sys.executable, "-c", ONE_STEP]),
}


def whole(command: list[str], code: int, folder: str) -> float:
    """Seconds from the start of a process to its end."""
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - begun
    if done.returncode != code:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}, not {code}\n{done.stderr}")
    return elapsed


def training(folder: str) -> dict[str, float]:
    """Seconds from the start of the default run to two lines of its output: the check's verdict, and epoch 1.

    The verdict is the last thing before the first step.
    """
    seconds: dict[str, float] = {}
    begun = time.perf_counter()
    with subprocess.Popen([BPTRAIN, "fit.epochs=1"], cwd=folder, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout or ():
            for start, name in (("Gradients", STEP), ("epoch", EPOCH)):
                if line.startswith(start):
                    seconds[name] = time.perf_counter() - begun
    if run.returncode or len(seconds) < 2:
        sys.exit(f"bptrain: exit code {run.returncode}, and of its output there came only {list(seconds)}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3, help="of each measurement (3)")
    repetitions = parser.parse_args().repetitions
    seconds: dict[str, list[float]] = {name: [] for name in (*COMMANDS, STEP, EPOCH)}
    with tempfile.TemporaryDirectory() as folder:
        training(folder)  # so that all is in memory that has to come from the disk, and there is a run to list
        for _ in range(repetitions):
            once = {name: whole(command, code, folder) for name, (code, command) in COMMANDS.items()}
            for name, elapsed in (once | training(folder)).items():
                seconds[name].append(elapsed)
    print(f"start-up, whole processes; medians of {repetitions}, target: --help at most 2.00 of import hydra")
    print(f"\n  {'':<32}{'ms':>7}{'of hydra':>10}{'of torch':>10}")
    for name, taken in seconds.items():
        ratios = (median(a / b for a, b in zip(taken, seconds[base], strict=True)) for base in (HYDRA, TORCH))
        print(f"  {name:<32}{median(taken) * 1e3:>7.0f}{next(ratios):>10.2f}{next(ratios):>10.2f}")


if __name__ == "__main__":
    main()
