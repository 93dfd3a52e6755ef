"""scikit-learn's estimators on the very same parts of the data as the presets, with networks of the same shape.

`python benchmarks/baselines_sklearn.py [experiment ...]` prints mean and deviation of the test score over seeds 0-4.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, stdev

from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron
from sklearn.metrics import root_mean_squared_error
from sklearn.neural_network import MLPClassifier

from bptrain.config.compose import compose, settings_of
from bptrain.data.dataset import Dataset

SEEDS = range(5)


@dataclass(frozen=True)
class Baseline:
    """An estimator made for a seed, and its name; `score` of (estimator, dataset) on the test part."""

    name: str
    make: Callable[[int], BaseEstimator]


def mlp(*sizes: int, activation: str = "logistic") -> Callable[[int], BaseEstimator]:
    return lambda seed: MLPClassifier(sizes, activation, max_iter=300, random_state=seed)


BASELINES = {
    "digits_mlp": Baseline("MLPClassifier of the same shape", mlp(128, 128, 128)),
    "iris_mlp": Baseline("MLPClassifier of the same shape", mlp(16, activation="tanh")),
    "wine_mlp": Baseline("MLPClassifier of the same shape", mlp(16, activation="tanh")),
    "neuron": Baseline("LogisticRegression", lambda seed: LogisticRegression(max_iter=2000)),
    "neuron_step": Baseline("Perceptron", lambda seed: Perceptron(random_state=seed)),
    "diabetes_mlp": Baseline("LinearRegression", lambda seed: LinearRegression()),
}


def scores(experiment: str) -> list[float]:
    """The test score of each seed: accuracy, or the root mean squared error in the target's units."""
    found = []
    for seed in SEEDS:
        dataset = settings_of(compose([f"experiment={experiment}", f"seed={seed}"])).data.load(seed)
        found.append(score(BASELINES[experiment].make(seed), dataset))
    return found


def score(estimator: BaseEstimator, dataset: Dataset) -> float:
    x, y = ({part: getattr(p, name) for part, p in dataset.parts.items()} for name in ("inputs", "targets"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(x["train"].flatten(1).numpy(), y["train"].numpy().reshape(len(y["train"]), -1).squeeze(1))
    predicted, right = estimator.predict(x["test"].flatten(1).numpy()), y["test"].numpy().reshape(-1)
    if dataset.task == "classification":
        return float((predicted == right).mean())
    return float(root_mean_squared_error(right, predicted) * dataset.target_scale[0])


def told(experiment: str) -> str:
    found = scores(experiment)
    return f"{mean(found):.3f} +- {stdev(found):.3f}"


if __name__ == "__main__":
    for name in sys.argv[1:] or BASELINES:
        print(f"{name:<14} {BASELINES[name].name:<32} {told(name)}", flush=True)
