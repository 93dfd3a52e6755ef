"""The plain loop under Optuna's grid sampler: `python benchmarks/plain_optuna.py EPOCHS SEEDS RATE ...`"""

from __future__ import annotations

import sys

import optuna
from plain import run


def main(epochs: int, seeds: int, rates: list[float]) -> None:
    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_categorical("lr", rates)
        return run(rate, trial.suggest_int("seed", 0, seeds - 1), epochs)

    grid = {"lr": rates, "seed": list(range(seeds))}
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.GridSampler(grid, seed=0))
    study.optimize(objective, n_trials=len(rates) * seeds)
    print(f"{len(study.trials)} trials, the best: {study.best_value:.3f} with {study.best_params}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), [float(rate) for rate in sys.argv[3:]])
