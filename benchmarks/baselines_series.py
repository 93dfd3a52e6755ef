"""Forecasts to stand beside the presets': seasonal-naive and autoregression, on the same windows and split.

`python benchmarks/baselines_series.py [experiment ...]` prints the metrics of the test part as a table.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from bptrain.config.compose import compose, settings_of
from bptrain.data.dataset import Dataset
from bptrain.metrics import metrics_for

EXPERIMENTS = ("sunspots_gru", "elnino_gru")


def seasonal_naive(dataset: Dataset, period: int) -> Tensor:
    """What was seen a period ago, or the last value seen that is a multiple of periods ago."""
    seen = dataset.parts["test"].inputs[:, 0]  # (N, window)
    places = [dataset.shape[1] + step % period - period for step in range(dataset.outputs)]
    return seen[:, places]  # (N, horizon)


def direct(dataset: Dataset) -> Tensor:
    """An autoregression for each step to come, on the whole window, fitted by least squares to the training part."""
    solution = torch.linalg.lstsq(_with_one(dataset, "train"), dataset.parts["train"].targets.double(), driver="gelsd")
    return (_with_one(dataset, "test") @ solution.solution).float()  # (N, horizon)


def iterated(dataset: Dataset, order: int) -> Tensor:
    """The AR(order) model of the next value, y_t = c + sum_i a_i y_(t-i), fed with its own forecasts."""
    train, window = dataset.parts["train"], dataset.parts["test"].inputs[:, 0].double()
    rows = torch.cat([train.inputs[:, 0, -order:].double(), torch.ones(len(train), 1)], 1)  # (N, order + 1)
    weights = torch.linalg.lstsq(rows, train.targets[:, :1].double(), driver="gelsd").solution
    for _ in range(dataset.outputs):
        window = torch.cat([window, window[:, -order:] @ weights[:-1] + weights[-1]], 1)
    return window[:, -dataset.outputs :].float()


def _with_one(dataset: Dataset, part: str) -> Tensor:
    inputs = dataset.parts[part].inputs[:, 0].double()
    return torch.cat([inputs, torch.ones(len(inputs), 1)], 1)  # (N, window + 1)


def main(experiments: tuple[str, ...]) -> None:
    for name in experiments:
        data = settings_of(compose([f"experiment={name}"])).data
        dataset = data.load(0)
        forecasts = {f"seasonal-naive {data.period}": seasonal_naive(dataset, data.period)}  # type: ignore[attr-defined]
        forecasts |= {f"AR({order}), iterated": iterated(dataset, order) for order in (2, 9, dataset.shape[1])}
        forecasts[f"least squares, {dataset.outputs} direct"] = direct(dataset)
        print(f"{name}: {dataset.name}, {len(dataset.parts['test'])} windows of the test part")
        for forecast, outputs in forecasts.items():
            targets = dataset.parts["test"].targets
            scores = {m.name: m.compute(outputs, targets, dataset).item() for m in metrics_for(dataset.task)}
            print(f"  {forecast:24}" + "".join(f"  {metric} {score:8.3f}" for metric, score in scores.items()))


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or EXPERIMENTS)
