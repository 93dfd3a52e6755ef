"""Evaluation: loss and metrics of a model on a whole part of the data."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

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
    model.eval()
    with torch.no_grad(), kept():
        with casts:
            outputs = _of_portions(model, inputs)
            scores = {"loss": loss(outputs, targets)}
            predict = getattr(model, "predict", None)
            predictions = outputs if predict is None else _of_portions(predict, inputs)
        predictions = predictions.float() if predictions.is_floating_point() else predictions
        scores |= {metric.name: metric.compute(predictions, targets, dataset) for metric in metrics}
    model.train()
    return dict(zip(scores, torch.stack([s.double() for s in scores.values()]).tolist(), strict=True))


def _of_portions(function: Callable[[Tensor], Any], inputs: Tensor) -> Any:
    """What a function makes of some rows at a time, joined: a tensor, or a tuple of tensors."""
    found = [function(rows) for rows in inputs.split(ROWS)]
    if isinstance(found[0], tuple):
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))
    return torch.cat(found)
