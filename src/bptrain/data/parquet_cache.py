"""A table of a Parquet file as NPY files, which can be read row by row: written once, and found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bptrain import files
from bptrain.data.column import class_names, meaning, side_by_side
from bptrain.data.npy_file import NPYFile
from bptrain.data.parquet_file import ParquetFile
from bptrain.data.table import Table
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    import polars
    from numpy import dtype, ndarray

VERSION = 1  # of what is written


@dataclass(frozen=True)
class Cached:
    """Inputs (N, F), which of the F are `numeric` and not a category, and the targets with their classes."""

    inputs: NPYFile
    numeric: ndarray
    targets: ndarray
    classes: tuple[str, ...]


def cached(table: Table, file: ParquetFile, folder: Path) -> Cached:
    """The table as it lies in a folder under `folder`, named by a hash of file and settings; else it is put there."""
    import numpy as np

    source = (str(Path(table.path).expanduser().absolute()), file.stat.st_size, file.stat.st_mtime_ns)
    settings = (table.target, table.task, table.drop, table.categorical, table.categories)
    place = folder / hashlib.sha256(json.dumps([VERSION, source, settings]).encode()).hexdigest()[:32]
    if not (place / "table.json").exists():
        _require_own(folder)
        files.make_directory(folder)
        with files.locked(folder):
            if not (place / "table.json").exists():  # as a process that this one waited for may have written it
                _write(table, file, place)
    try:
        told = json.loads((place / "table.json").read_bytes())
        inputs, targets = (NPYFile(str(place / name)) for name in ("inputs.npy", "targets.npy"))
        found = Cached(inputs, np.array(told["numeric"], bool), targets.all(), tuple(told["classes"]))
        if found.numeric.shape != inputs.shape[1:] or len(targets) != len(inputs):
            raise ValueError("its files are of different tables")
    except (OSError, ValueError, KeyError, TypeError, RequestError) as error:
        raise RequestError(
            Problem(str(place), f"is damaged: {error}", f"Delete it: {table.path} is read again.")
        ) from error
    return found


def _require_own(folder: Path) -> None:
    """RequestError for a folder elsewhere that the user has not made: a config of somebody's may name any."""
    if not folder.is_dir() and not folder.resolve().is_relative_to(Path.cwd()):
        what = f"{folder} is outside of the working directory, and nothing is written there unless it is there already."
        raise RequestError(Problem("data.folder", what, "Make it, or name another folder."))


def _write(table: Table, file: ParquetFile, place: Path) -> None:
    """The table in `place`, its description last. RequestError with all that is wrong with the columns."""
    import numpy as np

    problems: list[Problem] = []
    columns = _columns(table, file, problems)
    table.refuse(problems)
    _survey(table, file, columns, problems)
    table.refuse(problems)
    found = _target(table, file, [column for column in columns if column.target], problems)
    table.refuse(problems)
    assert found is not None
    targets, classes = found
    features = [column for column in columns if not column.target]
    files.make_directory(place)
    kind = np.result_type(np.float32, *(column.dtype for column in features))
    width = sum(len(column.labels) or 1 for column in features)
    with files.replacing(place / "inputs.npy") as inputs:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (file.rows, width)}
        np.lib.format.write_array_header_1_0(inputs, header)
        for _, frame in file.frames([column.words for column in features]):
            blocks = [column.encoded(frame[column.name]) for column in features]
            inputs.write(np.concatenate(blocks, 1, dtype=kind).data)  # (n, F)
    with files.replacing(place / "targets.npy") as output:
        np.save(output, targets, allow_pickle=False)
    numeric = [not column.text for column in features for _ in column.labels or [""]]
    files.write_json(place / "table.json", {"classes": classes, "numeric": numeric})


class _Column:
    """A column of numbers or text, and once that is known the different texts in it, by code point."""

    def __init__(self, name: str, kind: polars.DataType, categorical: bool, target: bool) -> None:
        import polars

        self.name, self.target, self.integers = name, target, kind.is_integer()
        self.text = categorical or not kind.is_numeric()
        self.labels: list[str] = []
        word = polars.col(name)
        if self.text:
            word = word.cast(polars.String).str.strip_chars()
            self.words = polars.when(word != "").then(word).alias(name)  # null where empty
            self.dtype: dtype = polars.Series([0], dtype=polars.UInt8).to_numpy().dtype
        else:
            self.words = word.cast(polars.Float64) if kind.is_decimal() else word
            self.dtype = polars.Series([0], dtype=polars.Float64 if kind.is_decimal() else kind).to_numpy().dtype

    def encoded(self, words: polars.Series) -> ndarray:
        """Numbers (n, 1), or one column per text (n, texts)."""
        return (self.codes(words)[:, None] == range(len(self.labels))) if self.text else words.to_numpy()[:, None]

    def codes(self, words: polars.Series) -> ndarray:
        """Which of the texts each is (n,)."""
        import polars

        return words.cast(polars.Enum(self.labels)).to_physical().to_numpy()


def _columns(table: Table, file: ParquetFile, problems: list[Problem]) -> list[_Column]:
    """The features, then the targets; a problem for each that is neither numbers nor text."""
    import polars

    columns = []
    for name in (*table.features(list(file.schema)), *table.targets):
        kind, target = file.schema[name], name in table.targets
        text = isinstance(kind, polars.String | polars.Boolean | polars.Categorical | polars.Enum)
        if text or kind.is_numeric():
            columns.append(_Column(name, kind, name in table.categorical, target))
            continue
        cure = "Choose another target." if target else f"Leave the column out: data.drop=[{name}]."
        problems.append(Problem(file.path, f"column '{name}' is of type {kind}, neither numbers nor text.", cure))
    return columns


def _survey(table: Table, file: ParquetFile, columns: list[_Column], problems: list[Problem]) -> None:
    """Looks at every value: a problem for each column with a wrong one, or too many texts, which the others get."""
    import numpy as np

    largest, left = float(np.finfo(np.float32).max), list(columns)
    texts: dict[_Column, set[str]] = {column: set() for column in columns if column.text}
    for first, frame in file.frames([column.words for column in columns]):
        for column in list(left):
            words, out = frame[column.name], f"Correct it, or leave the column out: data.drop=[{column.name}]."
            good = words.is_not_null() if column.text else (words.abs() <= largest).fill_null(False)
            rows = (~good).arg_true()
            if len(rows):
                word, where = words[rows[0]], f"{file.path}, row {first + rows[0] + 1}"
                fault = "is empty" if word is None else f"is {word}, no finite number"
                cure = "Correct it or remove the row." if column.target else out
                problems.append(Problem(where, f"column '{column.name}' {fault}.", cure))
                left.remove(column)
            elif column.text:
                texts[column].update(words.unique())
                if not column.target and len(texts[column]) > table.categories:
                    what = f"has more than {table.categories} different texts, such as '{words[0]}'"
                    cure = f"If it names the rows, leave it out: data.drop=[{column.name}]; else raise data.categories."
                    problems.append(Problem(file.path, f"column '{column.name}' {what}.", cure))
                    left.remove(column)
    for column, found in texts.items():
        column.labels = sorted(found)


def _target(
    table: Table, file: ParquetFile, columns: list[_Column], problems: list[Problem]
) -> tuple[ndarray, tuple[str, ...]] | None:
    """Indices into the classes (N,) and their names, or numbers (N,) or (N, O) and (); None after a problem."""
    import numpy as np

    numbers = isinstance(table.target, tuple) or table.task == "regression"
    wrong = [column for column in columns if column.text and numbers]
    problems += [Problem(file.path, f"the target '{column.name}' is text, no numbers.") for column in wrong]
    if wrong:
        return None
    pieces = [
        [column.codes(frame[column.name]) if column.text else frame[column.name].to_numpy() for column in columns]
        for _, frame in file.frames([column.words for column in columns])
    ]
    found = [
        np.concatenate(parts).astype(np.int64 if c.text else float)
        for c, parts in zip(columns, zip(*pieces, strict=True), strict=True)
    ]
    if isinstance(table.target, tuple):
        return side_by_side(file.path, table.target, list(found), table.task, problems)
    (column,), (values,) = columns, found
    labels, indices = np.unique(values, return_inverse=True)
    if column.text:
        labels = np.array(column.labels, object)
    integers: Callable[[], bool] = lambda: column.integers  # noqa: E731
    meant = meaning(file.path, column.name, labels, file.rows, integers, table.task, problems)
    if meant is None:
        return None
    return (values, ()) if meant == "regression" else (indices, class_names(labels))
