"""A series in a column of a CSV file, to forecast: `data=series data.path=... data.column=...`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING

from bptrain.config.component import setting
from bptrain.data.column import target
from bptrain.data.csv_file import read_csv
from bptrain.data.forecast import Forecast
from bptrain.errors import Problem, RequestError, did_you_mean

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class Series(Forecast, name="series"):
    """The numbers of a column from the first row to the last, which are in the order of time at equal distances."""

    path: str = setting(MISSING, "The CSV file, relative to the working directory.")
    column: str = setting(MISSING, "The column with the series.")
    separator: str = setting(",", "The character between two values; tab for a tab.")

    def values(self) -> ndarray:
        return read_column(self.path, self.column, self.separator)


def read_column(path: str, column: str, separator: str = ",") -> ndarray:
    """The numbers of a column of a CSV file, float64 (N,); RequestError where it has others, or is constant."""
    file = read_csv(path, separator)
    if column not in file.frame.columns:
        known = did_you_mean(column, file.frame.columns)
        raise RequestError(Problem("data.column", f"{path} has no column '{column}'.", known))
    problems: list[Problem] = []
    found = target(file, column, "regression", problems)
    if found is None:
        raise RequestError(problems)
    return found[0]
