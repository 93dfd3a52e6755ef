"""Arrays in NPY files as a dataset: `data=npy data.path=inputs.npy data.target=targets.npy`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bptrain.config.component import setting
from bptrain.data.assemble import STANDARDIZE, STANDARDIZE_TARGET
from bptrain.data.column import class_names, meaning
from bptrain.data.dataset import Dataset, Task
from bptrain.data.npy_file import NPYFile
from bptrain.data.split import SPLIT, Split, divide
from bptrain.data.streamed import Streamed
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class NPY(Streamed, name="npy"):
    """Inputs (N, ...) and targets in two files, row by row.

    Inputs are integers or floats: (N, F) a table, (N, C, L) signals, (N, C, H, W) images. Targets (N,) of integers are
    classes, whatever the integers are, and floats (N,) or (N, O) are a regression.
    """

    path: str = setting(MISSING, "The NPY file of the inputs, relative to the working directory.")
    target: str = setting(MISSING, "The NPY file of the targets.")
    split: Split = setting(Split, SPLIT)
    standardize: bool = setting(True, STANDARDIZE)
    standardize_target: bool = setting(True, STANDARDIZE_TARGET + " Not for classes.")

    def load(self, seed: int) -> Dataset:
        inputs, targets = NPYFile(self.path), NPYFile(self.target)
        problems: list[Problem] = []
        if len(inputs.shape) < 2:
            cure = "Save x[:, None] if each row is one number."
            problems.append(Problem(self.path, f"has the shape {inputs.shape}, and inputs are (N, ...).", cure))
        axes = (1, 2) if targets.dtype.kind == "f" else (1,)
        if len(targets.shape) not in axes:
            what = f"has the shape {targets.shape} of {targets.dtype}, and targets are classes (N,), or floats (N, O)."
            problems.append(Problem(self.target, what, "Other tasks are not learned from NPY files."))
        if len(inputs) != len(targets):
            what = f"has {len(targets)} rows, and {self.path} has {len(inputs)}."
            problems.append(Problem(self.target, what, "Row i of one belongs to row i of the other."))
        if problems:
            raise RequestError(problems)
        values, classes = _targets(targets)
        rows = divide(values, classes, self.split, seed)
        return self.dataset(self.path, inputs, rows, values, classes, self.standardize, self.standardize_target)


def _targets(file: NPYFile) -> tuple[ndarray, tuple[str, ...]]:
    """Indices into the classes and their names, or numbers (N,) or (N, O) and (); RequestError for a wrong one."""
    import numpy as np

    values, problems = file.all(), list[Problem]()
    numbers = values.dtype.kind == "f"
    labels, indices = np.unique(values, return_inverse=True)
    task: Task = "regression" if numbers else "classification"
    if not meaning(file.path, Path(file.path).name, labels, len(values), lambda: not numbers, task, problems):
        cure = "" if numbers else "Save a regression's targets as floats."
        raise RequestError([replace(problem, instead=cure) for problem in problems])
    return (values.astype(np.float64), ()) if numbers else (indices, class_names(labels))
