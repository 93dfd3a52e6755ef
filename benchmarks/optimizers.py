"""Each optimizer on the default experiment: steps, seconds and test accuracy as a Markdown table.

`python benchmarks/optimizers.py [optimizer ...]` trains each with seeds 0, 1 and 2 on one thread. Rates are those of a
grid (1, 3, 10, ...) that were best on the validation part of seed 0. Where a step takes all rows there are fewer of
them in an epoch, and so more epochs. bfgs has a smaller network: of the 42,634 weights of the default it would keep a
matrix of 14.5 GB.
"""

from __future__ import annotations

import sys
import time
from statistics import mean, stdev

from bptrain.config.component import components
from bptrain.config.compose import compose, settings_of
from bptrain.train.fit import fit
from bptrain.train.record import Finished, Stepped
from bptrain.train.run import build

SEEDS = (0, 1, 2)
SETTINGS = {
    "gd": ["lr=0.3", "momentum=0.9", "fit.epochs=2000"],
    "delta": ["lr=0.3"],
    "sgd": ["lr=0.3", "momentum=0.9"],
    "asgd": ["lr=3"],
    "adagrad": ["lr=0.1"],
    "rmsprop": ["lr=0.003"],
    "adadelta": ["lr=10"],
    "adafactor": ["lr=0.1"],
    "adam": ["lr=0.003"],
    "adamw": ["lr=0.003"],
    "adamax": ["lr=0.003"],
    "nadam": ["lr=0.003"],
    "radam": ["lr=0.003"],
    "muon": ["lr=0.03", "adamw_lr=0.003"],
    "rprop": ["lr=0.001", "fit.epochs=100"],
    "lbfgs": ["line_search_fn=strong_wolfe", "max_iter=4"],
    "bfgs": ["model.sizes=[32]", "fit.epochs=200"],
    "cg": ["fit.epochs=200"],
}


def trained(name: str, seed: int) -> tuple[int, float, float]:
    """Steps, seconds and test accuracy of one run; nothing is checked, shown or written."""
    own = [word if "." in word.split("=")[0] else f"optimizer.{word}" for word in SETTINGS[name]]
    run = build(settings_of(compose([f"optimizer={name}", *own, f"seed={seed}", "check.enabled=false"])))
    start, steps, accuracy = time.perf_counter(), 0, 0.0
    for record in fit(run):
        if isinstance(record, Stepped):
            steps += 1
        elif isinstance(record, Finished):
            accuracy = record.scores["accuracy"]
    return steps, time.perf_counter() - start, accuracy


def main(names: list[str]) -> None:
    missing = components("optimizer").keys() ^ SETTINGS.keys()
    if missing:
        raise SystemExit(f"no settings, or no optimizer: {', '.join(sorted(missing))}")
    print("| optimizer | settings | steps | seconds | test accuracy |\n|---|---|--:|--:|--:|")
    for name in names or SETTINGS:
        steps, seconds, accuracies = zip(*(trained(name, seed) for seed in SEEDS), strict=True)
        made = f"{min(steps):,}" if len(set(steps)) == 1 else f"{min(steps):,}-{max(steps):,}"
        row = (name, " ".join(SETTINGS[name]), made, f"{mean(seconds):.1f}")
        print("| " + " | ".join(row) + f" | {mean(accuracies):.3f} +- {stdev(accuracies):.3f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
