"""Files .ts, as sets of time series come in: https://www.timeseriesclassification.com has the format.

Comments (#) and a header (@) that ends with @data, then a line for each series: its numbers, a colon and its class.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from numpy import ndarray

LARGEST = 2**30  # bytes of a file


def read_ts(path: Path) -> tuple[ndarray, list[str]]:
    """Series of one variable and equal length, float64 (N, L), and the class of each; RequestError for any other."""
    import numpy as np

    if path.stat().st_size > LARGEST:
        raise RequestError(Problem(str(path), f"is larger than {LARGEST} bytes."))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise RequestError(Problem(str(path), "is not UTF-8, and so no .ts file.")) from None
    start = next((i for i, line in enumerate(lines) if line.strip().lower() == "@data"), None)
    if start is None:
        raise RequestError(Problem(str(path), "has no line @data, and so is no .ts file."))
    series: list[list[float]] = []
    classes: list[str] = []
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if not line.strip() or line.startswith("#"):
            continue
        words, *rest = line.strip().split(":")
        if len(rest) != 1 or not rest[0]:
            what = f"{len(rest)} colons, not the one before the class: only series of one variable can be read."
            raise RequestError(Problem(f"{path}:{number}", what))
        try:
            values = list(map(float, words.split(",")))
        except ValueError as error:
            raise RequestError(Problem(f"{path}:{number}", f"{error}.")) from None
        if not all(map(math.isfinite, values)):
            raise RequestError(Problem(f"{path}:{number}", "has a number that is missing or not finite."))
        if series and len(values) != len(series[0]):
            what = f"has {len(values)} numbers, and the first series {len(series[0])}: their length must be equal."
            raise RequestError(Problem(f"{path}:{number}", what))
        series.append(values)
        classes.append(rest[0])
    if not series:
        raise RequestError(Problem(str(path), "has no series after @data."))
    return np.array(series), classes
