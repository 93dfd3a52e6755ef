"""Sequences become a Dataset: tokens in padded rows, with what a decoder is given to learn from, or with labels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from bptrain.data.dataset import END, PAD, Dataset, Part, Task, fingerprint

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

TokenSequence = list[int]  # without PAD and END


def transduction(
    name: str,
    sources: list[TokenSequence],
    targets: list[list[TokenSequence]],
    rows: Mapping[str, ndarray],
    vocabulary: tuple[str, ...],
    classes: tuple[str, ...],
) -> Dataset:
    """The dataset of N sources and of the targets that are right for each, the first of which is to be learned.

    `rows` are those of each part; `vocabulary` names the tokens of the sources, `classes` those of the targets.
    """
    import torch

    T, U = max(map(len, sources)), max(len(target) for each in targets for target in each) + 1
    most = max(map(len, targets))

    def part(name: str, rows: ndarray) -> Part:
        first = _padded(([*targets[i][0], END] for i in rows), U)
        shifted = _padded(([END, *targets[i][0]] for i in rows), U)
        inputs = torch.cat([_padded((sources[i] for i in rows), T), shifted], 1)  # (N, T + U)
        if name == "train":
            return Part(inputs, first)
        filled = (targets[i] + targets[i][:1] * (most - len(targets[i])) for i in rows)  # the first again and again
        right = _padded(([*target, END] for each in filled for target in each), U)  # (N * A, U)
        return Part(inputs, first, right.unflatten(0, (-1, most)))

    parts = {name: part(name, chosen) for name, chosen in rows.items()}
    return _dataset(name, "transduction", T + U, parts, vocabulary, classes)


def labelled(
    name: str,
    sources: list[TokenSequence],
    labels: Sequence[Collection[str]],
    rows: Mapping[str, ndarray],
    vocabulary: tuple[str, ...],
    classes: tuple[str, ...],
) -> Dataset:
    """The dataset of N sources and of the labels that each has, any number of `classes`."""
    import torch

    T = max(map(len, sources))
    table = torch.tensor([[float(label in found) for label in classes] for found in labels])  # (N, O)
    parts = {part: Part(_padded((sources[i] for i in chosen), T), table[chosen]) for part, chosen in rows.items()}
    return _dataset(name, "multilabel", T, parts, vocabulary, classes)


def _dataset(
    name: str, task: Task, length: int, parts: dict[str, Part], vocabulary: tuple[str, ...], classes: tuple[str, ...]
) -> Dataset:
    return Dataset(name, task, (length,), len(classes), classes, parts, (), fingerprint(parts), vocabulary)


def _padded(sequences: Iterable[TokenSequence], width: int) -> Tensor:
    """Rows of tokens, int64 (N, width), each filled up with PAD."""
    import numpy as np
    import torch

    rows = [[*tokens, *[PAD] * (width - len(tokens))] for tokens in sequences]
    return torch.from_numpy(np.array(rows, dtype=np.int64))  # faster than torch.tensor(rows)
