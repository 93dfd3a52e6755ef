"""What a column of text means: numbers, categories or classes, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from bptrain.data.csv_file import CSVFile
from bptrain.data.dataset import Task
from bptrain.errors import Problem

if TYPE_CHECKING:
    from numpy import ndarray

FEW_CLASSES = 20


def feature(file: CSVFile, name: str, categorical: bool, categories: int, problems: list[Problem]) -> ndarray | None:
    """The column as numbers, float64 (N,), or as text (N,) of at most `categories` values; None after a problem."""
    out = f"leave the column out: data.drop=[{name}]"
    codes = f" If its values are codes, write data.categorical=[{name}]."
    found = _values(file, name, False if categorical else None, f"Correct it, or {out}.", codes, problems)
    if found is None:
        return None
    if categorical:
        found = file.frame[name].to_numpy()
    different = len(set(found)) if is_text(found) else 0
    if different > categories:
        what = f"column '{name}' has {different} different texts, such as '{found[0]}': too many for categories."
        cure = f"If it names the rows, {out}; else raise data.categories."
        problems.append(Problem(file.path, what, cure))
        return None
    return found


def target(
    file: CSVFile, name: str, task: Task | None, problems: list[Problem]
) -> tuple[ndarray, tuple[str, ...]] | None:
    """Indices into the sorted classes and their names, or numbers and (); (N,) each. None after a problem.

    Without `task`, text is classes, and so are integers (written without point or exponent) of at most
    FEW_CLASSES different values that each stand in two rows or more on average. Other numbers are
    a regression.
    """
    import numpy as np

    numeric = None if task is None else task == "regression"
    classes = " If the target is a class, write data.task=classification."
    found = _values(file, name, numeric, "Correct it or remove the row.", classes, problems)
    if found is None:
        return None
    labels, indices = np.unique(found, return_inverse=True)

    def integers() -> bool:
        return all(re.fullmatch(r"[+-]?\d+", word) for word in file.frame[name])

    meant = meaning(file.path, name, labels, len(found), integers, task, problems)
    if meant is None:
        return None
    return (found, ()) if meant == "regression" else (indices, class_names(labels))


def meaning(
    path: str,
    name: str,
    labels: ndarray,
    rows: int,
    integers: Callable[[], bool],
    task: Task | None,
    problems: list[Problem],
) -> Task | None:
    """What a target is whose different values in so many rows are `labels`; None after a problem.

    `integers` says whether numbers are written as integers.
    """
    text, different = is_text(labels), len(labels)
    if different == 1:
        what = f"the target '{name}' is {class_names(labels)[0]} in every row, so there is nothing to learn."
        problems.append(Problem(path, what, "Choose another column as data.target."))
        return None
    few = different <= FEW_CLASSES and 2 * different <= rows
    if task is None:
        task = "classification" if text or (few and integers()) else "regression"
    if task != "regression" and different > FEW_CLASSES and 2 * different > rows:
        what = f"the target '{name}' has {different} different values in {rows} rows: these are no classes."
        cure = "Choose another column as data.target" + ("." if text else ", or write data.task=regression.")
        problems.append(Problem(path, what, cure))
        return None
    return task


def class_names(labels: ndarray) -> tuple[str, ...]:
    """What sorted classes go by: numbers without the point of a float that is an integer."""
    return tuple(str(label) if is_text(labels) else str(label).removesuffix(".0") for label in labels)


def several(
    file: CSVFile, names: tuple[str, ...], task: Task | None, problems: list[Problem]
) -> tuple[ndarray, tuple[str, ...]] | None:
    """The columns side by side (N, O), and their names where they are labels, all 0 or 1; None after a problem."""
    cure = "Correct it or remove the row."
    columns = [_values(file, name, True, cure, "", problems) for name in names]
    return side_by_side(file.path, names, columns, task, problems)


def side_by_side(
    path: str, names: tuple[str, ...], columns: list[ndarray | None], task: Task | None, problems: list[Problem]
) -> tuple[ndarray, tuple[str, ...]] | None:
    """As `several`, of columns (N,) of numbers that have been read."""
    import numpy as np

    if task == "classification" or not names:
        what = "names no column." if not names else "names several columns, and a class is one."
        problems.append(Problem("data.target", what, "Name one, or write data.task=multilabel."))
    found = [column for column in columns if column is not None]
    if len(found) < len(columns) or task == "classification" or not names:
        return None
    table = np.stack(found, 1)  # (N, O)
    labels = bool(np.isin(table, (0, 1)).all())
    if task == "multilabel" and not labels:
        wrong = [name for name, column in zip(names, found, strict=True) if not np.isin(column, (0, 1)).all()]
        problems.append(Problem(path, f"column '{wrong[0]}' has values other than 0 and 1.", "Drop it as a target."))
        return None
    return table, names if labels and task != "regression" else ()


def is_text(values: ndarray) -> bool:
    """Whether a column holds text, not numbers."""
    return values.dtype == object


def _values(
    file: CSVFile, name: str, numeric: bool | None, cure: str, if_text: str, problems: list[Problem]
) -> ndarray | None:
    """The column as finite float64 (N,) if it holds numbers, else as text (N,); None after a problem.

    It holds numbers when `numeric` says so. When it is None, more than half of the values that
    are not empty must be numbers: other text among them is a mistake. When False, all must be.
    `if_text` is the further way out when a text is the mistake.
    """
    import numpy as np
    import polars

    words = file.frame[name]
    numbers = words.cast(polars.Float64, strict=False)
    share = numbers.count() / max(1, words.count())
    if numeric or share == 1 or (numeric is None and share > 0.5):
        wrong = ~(numbers.abs() <= float(np.finfo(np.float32).max)).fill_null(False)
    else:
        numbers, wrong = words, words.is_null()
    rows = wrong.arg_true()
    if not len(rows):
        return numbers.to_numpy()
    word, number = words[rows[0]], numbers[rows[0]]
    if word is None:
        fault = "is empty"
    elif number is None:
        fault, cure = f"is '{word}', no number", cure + if_text
    else:
        fault = f"is '{word}', no finite number"
    more = f" ({len(rows) - 1} more below)" if len(rows) > 1 else ""
    problems.append(Problem(file.line(rows[0]), f"column '{name}' {fault}{more}.", cure))
    return None
