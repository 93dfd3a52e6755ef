"""Evaluation: loss and metrics of a model on a whole part of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from bptrain.data.dataset import Dataset
from bptrain.metrics import Metric
from bptrain.reference.draws import kept
from bptrain.train.distributed import Ranks
from bptrain.train.record import Scores

ROWS = 4096  # that go through the model at a time: bounds the memory, and leaves the result as it is


def evaluate(
    model: nn.Module,
    loss: nn.Module,
    dataset: Dataset,
    part: str,
    metrics: tuple[Metric, ...],
    casts: AbstractContextManager[object],
    ranks: Ranks | None = None,
) -> Scores:
    """The loss and each metric on a part, in evaluation mode; torch's generators stay where they are.

    Model and loss are run inside `casts`. Where there are `ranks` each takes a share of the rows, and all get the same.
    """
    inputs, targets, labels = (getattr(dataset.parts[part], name) for name in ("inputs", "targets", "labels"))
    model.eval()
    with torch.no_grad(), kept():
        with casts:
            outputs = _of_portions(model, inputs, ranks)
            scores = {"loss": loss(outputs, targets)}
            predictions = _predictions(model, inputs, ranks, outputs)
            if dataset.task == "anomaly":
                predictions = _judged(model, dataset, predictions, targets, ranks)
            targets = targets if labels is None else labels
        given = {"predictions": _widened(predictions), "outputs": _widened(outputs)}
        scores |= {metric.name: metric.compute(given[metric.of], targets, dataset) for metric in metrics}
    model.train()
    values = torch.stack([s.double() for s in scores.values()])
    return dict(zip(scores, (values if ranks is None else ranks.first(values)).tolist(), strict=True))


def _widened(values: Any) -> Any:
    """Tensors of a half precision in float32."""
    return tree_map(lambda y: y.float() if y.is_floating_point() and y.element_size() < 4 else y, values)


def _predictions(model: nn.Module, inputs: Tensor, ranks: Ranks | None, outputs: Any = None) -> Any:
    """What metrics judge: what the network's `predict` gives, or its outputs, which need not be computed again."""
    predict = getattr(model, "predict", None)
    if predict is None and outputs is not None:
        return outputs
    return _of_portions(predict or model, inputs, ranks)


def _judged(
    model: nn.Module, dataset: Dataset, predictions: Tensor, targets: Tensor, ranks: Ranks | None
) -> tuple[Tensor, Tensor]:
    """The error of each example (N,), and the threshold () that the validation part's errors give.

    An example is what stands in the middle of its target's last axis, and its error the mean square there.
    """
    validation = dataset.parts["validation"]

    def errors(predictions: Tensor, targets: Tensor) -> Tensor:
        middle = targets.shape[-1] // 2
        return (predictions - targets)[..., middle].float().square().reshape(len(targets), -1).mean(1)  # (N,)

    usual = errors(_predictions(model, validation.inputs, ranks), validation.targets)
    return errors(predictions, targets), usual.quantile(dataset.quantile)


def _of_portions(function: Callable[[Tensor], Any], inputs: Tensor, ranks: Ranks | None) -> Any:
    """What a function makes of some rows at a time, joined: a tensor, or a tuple of tensors."""
    found = [function(rows) for rows in (inputs if ranks is None else ranks.share(inputs)).split(ROWS)]

    def joined(parts: Sequence[Tensor]) -> Tensor:
        share = torch.cat(tuple(parts))
        return share if ranks is None else ranks.joined(share, len(inputs))

    if isinstance(found[0], tuple):
        return tuple(joined(parts) for parts in zip(*found, strict=True))
    return joined(found)
