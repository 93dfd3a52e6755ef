"""The data a run sees: parts of paired tensors, what they mean, and the fingerprint that tells them apart."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bptrain.config.component import Component

if TYPE_CHECKING:
    from torch import Tensor

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Part:
    """Examples that are used together, for training, for validation or for the test.

    `inputs` is float32 (N, *shape). `targets` is int64 (N,), a class each, or float32 (N, outputs) for regression.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Dataset:
    """A task with its examples: parts "train", "validation" and "test", of which an empty one is absent.

    `shape` is that of one input: (F,) for a table, (C, L) for signals, (C, H, W) for images. `outputs`
    counts the classes, or the columns of the target. `classes` names them, () for regression.
    `target_scale` is the standard deviation by which each target column was divided (ones if it was
    not), () for classification. `fingerprint` is that of `parts`.
    """

    name: str
    task: Task
    shape: tuple[int, ...]
    outputs: int
    classes: tuple[str, ...]
    parts: dict[str, Part]
    target_scale: tuple[float, ...]
    fingerprint: str


class Data(Component, abc.ABC, group="data"):
    """A source of data: its settings, and how to load it."""

    @abc.abstractmethod
    def load(self, seed: int) -> Dataset:
        """The dataset; what is random in it comes from `seed` alone, and no global generator moves.

        RequestError when the settings or the source are wrong.
        """


def fingerprint(parts: Mapping[str, Part]) -> str:
    """SHA-256 in hex over the name of each part and the dtype, shape and bytes of its tensors."""
    digest = hashlib.sha256()
    for name, part in parts.items():
        for tensor in (part.inputs, part.targets):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().cpu().numpy().data)
    return digest.hexdigest()
