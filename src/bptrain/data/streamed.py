"""Data whose inputs are read from a file while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bptrain.config.component import setting
from bptrain.data.assemble import assemble
from bptrain.data.dataset import Data, Dataset, Part
from bptrain.data.npy_file import NPYFile
from bptrain.data.rows import Rows

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class Streamed(Data):
    """Inputs that may be larger than memory; in it are their targets, and a few numbers for each row.

    A mean and a deviation are computed over the training part in the order of the file, in float64.
    """

    workers: int = setting(
        1,
        "Threads that read the next batches ahead, 0 to read in the step; results are the same.",
        minimum=0,
        maximum=64,
    )
    in_memory: bool = setting(
        False, "Read all rows at the start: then fit.engine=compiled and populations can have them too."
    )

    def dataset(
        self,
        path: str,
        file: NPYFile,
        rows: Mapping[str, ndarray],
        targets: ndarray,
        classes: tuple[str, ...],
        standardize: bool,
        standardize_target: bool,
        numeric: ndarray | None = None,
        multilabel: bool = False,
    ) -> Dataset:
        """The dataset whose parts have these rows of a file and its `targets` (N,) or (N, O), of which `classes` tells.

        `numeric` says which features are numbers; the others are 1 where a row is of a category, and left out where
        no row of the training part is. RequestError when the file has values that are no finite numbers.
        """
        columns, mean, deviation = _surveyed(file, rows["train"], standardize, numeric)
        inputs = {part: Rows(file, chosen, self.workers, columns, mean, deviation) for part, chosen in rows.items()}
        those = {part: targets[chosen] for part, chosen in rows.items()}
        dataset = assemble(path, inputs, those, classes, standardize_target, multilabel)
        if self.in_memory:
            parts = {name: Part(part.inputs[:], part.targets) for name, part in dataset.parts.items()}
            dataset = replace(dataset, parts=parts)
        return dataset


def _surveyed(
    file: NPYFile, train: ndarray, standardize: bool, numeric: ndarray | None
) -> tuple[ndarray | None, ndarray | None, ndarray | None]:
    """Columns, mean and deviation as in Rows, from one pass over the file in which each value is looked at."""
    import numpy as np
    from sklearn.preprocessing import StandardScaler

    chosen = np.zeros(len(file), bool)
    chosen[train] = True
    features, scaler = file.shape[1], StandardScaler()
    for first, block in file.blocks():
        known = block[chosen[first : first + len(block)]]
        if len(known) and (standardize or numeric is not None):
            scaler.partial_fit(np.moveaxis(known, 1, -1).reshape(-1, features).astype(np.float64))
    columns = None
    if numeric is not None and not numeric.all():
        columns = np.flatnonzero(numeric | (scaler.mean_ > 0))
    if not standardize:
        return columns, None, None
    mean, deviation = scaler.mean_, scaler.scale_
    if numeric is not None:
        mean, deviation = np.where(numeric, mean, 0.0), np.where(numeric, deviation, 1.0)
    if columns is not None:
        mean, deviation = mean[columns], deviation[columns]
    axes = (-1, *[1] * (len(file.shape) - 2))
    return columns, mean.reshape(axes), deviation.reshape(axes)
