"""A table of named columns as a dataset, and one in a CSV file: `data=csv data.path=... data.target=...`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Literal

from bptrain.config.component import setting
from bptrain.data.assemble import STANDARDIZE_TARGET, assemble, standardized
from bptrain.data.column import feature, is_text, several, target
from bptrain.data.csv_file import read_csv
from bptrain.data.dataset import Data, Dataset
from bptrain.data.split import SPLIT, Split, divide
from bptrain.errors import Problem, RequestError, did_you_mean

if TYPE_CHECKING:
    from numpy import ndarray

SHOWN = 10  # of the problems of a file


@dataclass(frozen=True, kw_only=True)
class Table(Data):
    """Rows of named columns, of which some are the target and the others features, but for those that are dropped."""

    path: str
    target: str | tuple[str, ...] = setting(MISSING, "The column to predict, or a list of columns.")
    task: Literal["classification", "multilabel", "regression"] | None = setting(
        None, "What the target is; null: seen from its values."
    )
    drop: tuple[str, ...] = setting((), "Columns that are not features, such as ids.")
    categorical: tuple[str, ...] = setting((), "Columns whose numbers only name categories, such as codes.")
    categories: int = setting(100, "The most different texts a categorical column may have.", minimum=2)
    split: Split = setting(Split, SPLIT)
    standardize: bool = setting(True, "Scale each numeric column to mean 0 and deviation 1 over the training part.")
    standardize_target: bool = setting(True, STANDARDIZE_TARGET + " Not for classes.")

    @property
    def targets(self) -> tuple[str, ...]:
        return self.target if isinstance(self.target, tuple) else (self.target,)

    def features(self, columns: list[str]) -> list[str]:
        """The columns that are features; RequestError when the settings name columns that are not there."""
        problems = []
        named = {"data.target": self.targets, "data.drop": self.drop, "data.categorical": self.categorical}
        for key, words in named.items():
            for word in words:
                if word not in columns:
                    problems.append(Problem(key, f"{self.path} has no column '{word}'.", self._meant(word, columns)))
                elif word in self.targets and key != "data.target":
                    problems.append(Problem(key, f"names the target '{word}'.", "Leave it out of the list."))
        features = [name for name in columns if name not in (*self.targets, *self.drop)]
        if not features:
            problems.append(Problem(self.path, "no column is left as a feature.", "Drop fewer columns."))
        if "" in features:
            what = f"column {columns.index('') + 1} has no name (pandas writes row numbers so)."
            problems.append(Problem(self.path, what, "Name it, or write \"data.drop=['']\"."))
        if problems:
            raise RequestError(problems)
        return features

    def refuse(self, problems: list[Problem]) -> None:
        """RequestError with the first of the problems, if there are any."""
        if problems:
            more = [Problem(self.path, f"{len(problems) - SHOWN} more columns are wrong.")] * (len(problems) > SHOWN)
            raise RequestError([*problems[:SHOWN], *more])

    def _meant(self, name: str, columns: list[str]) -> str:
        """What to write for a column that is not there."""
        return did_you_mean(name, columns, fallback=len(columns) <= 30)


@dataclass(frozen=True, kw_only=True)
class CSV(Table, name="csv"):
    """The rows of a CSV file (UTF-8, names of columns in the first line), one column of which is the target.

    Every other column is a feature. A column in which more than half of the values are numbers is
    numeric, and then all must be finite numbers. Any other column (text, true and false), and each one
    named in `categorical`, becomes one input per category that occurs in the training part: 1 where the row
    has it, else 0. A category that occurs only in validation or test is all zeros. Nothing may be
    empty but whole lines. Spaces around a value do not count.

    The target is a class for each row when it is text, or integers (written without point or exponent)
    of at most 20 different values that each stand in two rows or more on average; other numbers
    are a regression. `task` decides otherwise. Classes are sorted: numbers by size, text by code point.
    Several targets are columns of numbers: labels, of which a row may have any, if all are 0 or 1, else a regression.
    """

    path: str = setting(MISSING, "The CSV file, relative to the working directory.")
    separator: str = setting(",", "The character between two values; tab for a tab.")

    def load(self, seed: int) -> Dataset:
        file = read_csv(self.path, self.separator)
        names = self.features(file.frame.columns)
        problems: list[Problem] = []
        columns = [feature(file, name, name in self.categorical, self.categories, problems) for name in names]
        together = isinstance(self.target, tuple)
        found = (
            several(file, self.targets, self.task, problems)
            if together
            else target(file, self.targets[0], self.task, problems)
        )
        self.refuse(problems)
        assert found is not None
        values, classes = found
        rows = divide(values, classes, self.split, seed)
        inputs = _encode([column for column in columns if column is not None], rows, self.standardize)
        targets = {part: values[chosen] for part, chosen in rows.items()}
        labels = together and bool(classes)
        return assemble(self.path, inputs, targets, classes, self.standardize_target, labels)

    def _meant(self, name: str, columns: list[str]) -> str:
        for separator in (";", "\t", "|", ","):
            if len(columns) == 1 and separator in columns[0]:
                word = "data.separator=tab" if separator == "\t" else f"\"data.separator='{separator}'\""
                return f"Its only column is {columns[0]!r}: try {word}."
        return super()._meant(name, columns)


def _encode(columns: list[ndarray], rows: dict[str, ndarray], standardize: bool) -> dict[str, ndarray]:
    """Numbers (N,) and one column per category of the training part, side by side: (N, F) for each part."""
    import numpy as np

    blocks, numeric = [], []
    for column in columns:
        if is_text(column):
            categories = np.unique(column[rows["train"]])
            blocks.append((column[:, None] == categories).astype(float))  # (N, categories)
            numeric += [False] * len(categories)
        else:
            blocks.append(column[:, None])  # (N, 1)
            numeric.append(True)
    table = np.hstack(blocks)  # (N, F)
    parts = {part: table[chosen] for part, chosen in rows.items()}
    if standardize and any(numeric):
        scaled, _ = standardized({part: x[:, numeric] for part, x in parts.items()})
        for part, x in parts.items():
            x[:, numeric] = scaled[part]
    return parts
