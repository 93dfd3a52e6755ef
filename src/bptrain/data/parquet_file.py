"""A Parquet file read some rows at a time: https://parquet.apache.org/docs/file-format/"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bptrain.data.parquet_size import unpacked
from bptrain.data.source_file import reading
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    import polars

NUMBERS = 2**21  # that are read at a time
DENSEST = 1000  # values that a byte of the file may stand for
ROOM, GROWTH = 2**28, 1000  # bytes that any file may unpack to; beyond, how many for each byte of it
TEXT = 2**30  # bytes of a column's text in so many rows
LONGEST = 150  # characters of what polars says
MAGIC = b"PAR1"
AGAIN = "Is it damaged? Write it again."


class ParquetFile:
    """Columns of numbers or text. RequestError when it can't be read, or states more than its size can hold."""

    def __init__(self, path: str) -> None:
        import polars

        self.path = path
        with reading(path, "a Parquet") as file, file.open("rb") as opened:
            head = opened.read(len(MAGIC))
            opened.seek(max(0, file.stat().st_size - len(MAGIC)))
            if not head == opened.read() == MAGIC:
                raise RequestError(Problem(path, "is no Parquet file.", "Name one that starts and ends with PAR1."))
        self.stat = file.stat()
        # As an absolute path, so that it is neither a pattern nor the address of a file elsewhere.
        source = Path(file).absolute()
        with self._readable():
            self._scan = polars.scan_parquet(source, glob=False, hive_partitioning=False)
            self.schema = dict(self._scan.collect_schema())
            rows = self._scan.select(polars.len()).collect().item()
        if not rows or not self.schema:
            raise RequestError(Problem(path, "has no rows.", "Name a table with some."))
        if rows * len(self.schema) > DENSEST * self.stat.st_size:
            what = f"states {rows} rows of {len(self.schema)} columns in {self.stat.st_size} bytes, more than {DENSEST}"
            raise RequestError(Problem(path, f"{what} values a byte.", AGAIN))
        self.rows, self._bounded = rows, False

    def frames(self, columns: Sequence[polars.Expr]) -> Iterator[tuple[int, polars.DataFrame]]:
        """The columns of some rows at a time, from the first to the last, each with the index of the first of them.

        RequestError when they can't be read, or the file has changed.
        """
        self._require_bounded()
        step = max(1, NUMBERS // len(columns))
        for first in range(0, self.rows, step):
            with self._readable():
                frame = self._scan.slice(first, step).select(columns).collect()
            if len(frame) != min(step, self.rows - first):
                what = f"has {first + len(frame)} rows, and states {self.rows}."
                raise RequestError(Problem(self.path, what, AGAIN))
            yield first, frame
        with reading(self.path, "a Parquet") as file:
            if (file.stat().st_size, file.stat().st_mtime_ns) != (self.stat.st_size, self.stat.st_mtime_ns):
                raise RequestError(Problem(self.path, "has changed while it was read.", "Start again."))

    def _require_bounded(self) -> None:
        """RequestError when the file unpacks to far more than its size, or texts do that are written once."""
        import polars

        if self._bounded:
            return
        try:
            size = unpacked(Path(self.path).expanduser())
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RequestError(Problem(self.path, f"can't be read: {error}.", AGAIN)) from error
        if size > max(ROOM, GROWTH * self.stat.st_size):
            what = f"unpacks to {size:,} bytes, more than {GROWTH} times its size."
            raise RequestError(Problem(self.path, what, "Write it without compression."))
        lengths = []
        for name, kind in self.schema.items():
            if isinstance(kind, polars.Categorical | polars.Enum):
                lengths.append(polars.col(name).cat.len_bytes())
            elif kind == polars.String:
                lengths.append(polars.col(name).str.len_bytes())
        for first in range(0, self.rows if lengths else 0, NUMBERS):
            with self._readable():
                found = self._scan.slice(first, NUMBERS).select(of.cast(polars.Int64).sum() for of in lengths).collect()
            for name, length in found.row(0, named=True).items():
                if length > TEXT:
                    what = f"column '{name}' has {length:,} bytes of text in {min(self.rows, NUMBERS):,} rows."
                    raise RequestError(Problem(self.path, what, "Leave it out of the file, or shorten it."))
        self._bounded = True

    @contextmanager
    def _readable(self) -> Iterator[None]:
        import polars

        try:
            yield
        except (polars.exceptions.PolarsError, polars.exceptions.PanicException, OSError) as error:
            said = next(iter(str(error).strip().splitlines()), "").rstrip(".")[:LONGEST]
            if isinstance(error, polars.exceptions.PanicException):  # its message is for those who know the code
                said = "polars fails on it"
            raise RequestError(Problem(self.path, f"can't be read: {said}.", AGAIN)) from error
