"""Evaluation: loss and metrics of a model on a whole part of the data."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import nn

from bptrain.data.dataset import Dataset
from bptrain.metrics import Metric
from bptrain.reference.draws import kept
from bptrain.train.record import Scores

ROWS = 4096  # that go through the model at a time: bounds the memory, and leaves the result as it is


def evaluate(
    model: nn.Module,
    loss: nn.Module,
    dataset: Dataset,
    part: str,
    metrics: tuple[Metric, ...],
    casts: AbstractContextManager[object],
) -> Scores:
    """The loss and each metric on a part, in evaluation mode; torch's generators stay where they are.

    Model and loss are run inside `casts`.
    """
    inputs, targets = dataset.parts[part].inputs, dataset.parts[part].targets
    scale = torch.tensor(dataset.target_scale, device=inputs.device)
    model.eval()
    with torch.no_grad(), kept():
        with casts:
            outputs = torch.cat([model(rows) for rows in inputs.split(ROWS)])
            scores = {"loss": loss(outputs, targets)}
        scores |= {metric.name: metric.compute(outputs.float(), targets, scale) for metric in metrics}
    model.train()
    return dict(zip(scores, torch.stack([s.double() for s in scores.values()]).tolist(), strict=True))
