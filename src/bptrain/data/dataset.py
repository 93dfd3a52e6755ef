"""The data a run sees: parts of paired tensors, what they mean, and the fingerprint that tells them apart."""

from __future__ import annotations

import abc
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bptrain.config.component import Component
from bptrain.data.rows import IN_MEMORY, Rows
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Task = Literal[
    "classification",
    "multilabel",
    "regression",
    "forecasting",
    "tagging",
    "transduction",
    "reconstruction",
    "density",
    "anomaly",
]
PAD = 0  # the token that fills up a sequence
END = 1  # in transduction, the token that ends the other sequence, and that its decoder starts from
IGNORED = -100  # the class of a place that has none, as torch's losses know it


@dataclass(frozen=True)
class Part:
    """Examples that are used together, for training, for validation or for the test.

    `inputs` is float32 (N, *shape), or int64 (N, T) tokens, those after the end of a sequence PAD. Where they need not
    fit into memory, `Rows` stand in for that tensor, which can be indexed, split and moved. `targets`, by task:
    classification       int64 (N,), a class each
    multilabel           float32 (N, outputs) of 0 and 1
    regression           float32 (N, outputs)
    forecasting          float32 (N, outputs), the values of `outputs` steps to come
    tagging              int64 (N, T), a class for each token, IGNORED after the end
    transduction         int64 (N, U) tokens of another sequence, its last END, then PAD. `inputs` are int64 (N, T + U):
                         beside the source what a decoder is given to learn each of the targets with, the target
                         shifted by one, END first. A network's `predict` looks at the first T alone. `labels` int64
                         (N, A, U), where there are any, are all the targets that are right, the first one included
    reconstruction, density   float32 (N, *shape), the inputs themselves
    anomaly              as in forecasting or reconstruction; what is there is judged by its error where it stands in
                         the middle of the target's last axis, and `labels` int64 (N,) are 1 where that is an anomaly
    """

    inputs: Tensor
    targets: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device, dtype: torch.dtype) -> Part:
        """The same on a device, what is not of integers in `dtype`."""
        inputs, targets = (x.to(device, dtype if x.is_floating_point() else None) for x in (self.inputs, self.targets))
        return Part(inputs, targets, None if self.labels is None else self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """A task with its examples: parts "train", "validation" and "test", of which an empty one is absent.

    `shape` is that of one input: (F,) for a table, (C, L) for signals, (C, H, W) for images, (T,) for tokens, which
    `vocabulary` names. `outputs` counts the classes, or the columns of the target. `classes` names them (or the
    tokens of the other sequence in transduction), () for numbers. `target_scale` is the standard deviation by which
    each target column was divided (ones if it was not), () for classes. `naive_error` is the mean absolute error, in
    the target's units and over the training part, of a forecast that says what was seen a period ago. `quantile` is
    that of the validation part's errors above which an error counts as an anomaly; 1 is the largest of them.
    `fingerprint` is that of `parts`.
    """

    name: str
    task: Task
    shape: tuple[int, ...]
    outputs: int
    classes: tuple[str, ...]
    parts: dict[str, Part]
    target_scale: tuple[float, ...]
    fingerprint: str
    vocabulary: tuple[str, ...] = ()
    naive_error: float = 1.0
    quantile: float = 1.0


class Data(Component, abc.ABC, group="data"):
    """A source of data: its settings, and how to load it."""

    @abc.abstractmethod
    def load(self, seed: int) -> Dataset:
        """The dataset; what is random in it comes from `seed` alone, and no global generator moves.

        RequestError when the settings or the source are wrong.
        """


def unsupervised(dataset: Dataset, task: Literal["reconstruction", "density"]) -> Dataset:
    """The same inputs as their own targets, whatever the targets were. RequestError when they are not in memory."""
    if isinstance(dataset.parts["train"].inputs, Rows):
        what = f"{dataset.name} is read while it trains, and as their own targets all inputs are needed at once."
        raise RequestError(Problem("data", what, IN_MEMORY))
    parts = {name: Part(part.inputs, part.inputs) for name, part in dataset.parts.items()}
    outputs = math.prod(dataset.shape)
    return replace(
        dataset,
        task=task,
        outputs=outputs,
        classes=(),
        parts=parts,
        target_scale=(1.0,) * outputs,
        fingerprint=fingerprint(parts),
    )


def fingerprint(parts: Mapping[str, Part]) -> str:
    """SHA-256 in hex over the name of each part and the dtype, shape and bytes of its tensors.

    Inputs that are Rows count by the fingerprint of their file.
    """
    digest = hashlib.sha256()
    for name, part in parts.items():
        for tensor in (part.inputs, part.targets, *([] if part.labels is None else [part.labels])):
            if isinstance(tensor, Rows):
                digest.update(tensor.fingerprint().encode())
                continue
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().cpu().numpy().data)
    return digest.hexdigest()
