"""A CSV file as columns of text: read by polars, its faults named by line."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bptrain.data.source_file import reading
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    import polars
    from numpy import ndarray

SEPARATORS = {"tab": "\t"}
LARGEST = 2**30  # bytes of a file, all of which is read
WIDEST = 100_000  # columns; the csv module itself refuses a value of more than 131,072 characters


@dataclass(frozen=True)
class CSVFile:
    """The columns of a file as stripped text, null where empty. Rows that are wholly empty are left out.

    `records[i]` is the position of row i among all records after the header, for `line`.
    """

    path: str
    text: str
    separator: str
    frame: polars.DataFrame
    records: ndarray

    def line(self, row: int) -> str:
        """Where row `row` of the frame stands: the file and the line, counted from 1."""
        records = _records(self.path, self.text, self.separator)
        next(records)
        return f"{self.path}:{next(line for i, (line, _) in enumerate(records) if i == self.records[row])}"


def read_csv(path: str, separator: str) -> CSVFile:
    """The file at `path`, its header in the first line that is not empty, its values separated by `separator`.

    RequestError when it can't be read, is not UTF-8, has no rows, or its rows differ in length.
    """
    import polars

    separator = SEPARATORS.get(separator, separator)
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n':
        what = f"must be one ASCII character, not '{separator}'."
        raise RequestError(Problem("data.separator", what, "Write tab for a tab."))
    text = _text(path)
    header = _header(path, text, separator)
    try:
        frame = polars.read_csv(io.StringIO(text), separator=separator, infer_schema=False)
    except polars.exceptions.PolarsError:
        raise RequestError(_stray_quote(path, text, separator)) from None
    frame.columns = header
    frame = frame.select(polars.all().str.strip_chars())
    frame = frame.select(polars.when(polars.all() != "").then(polars.all()))  # null where empty
    filled = ~frame.select(polars.all_horizontal(polars.all().is_null())).to_series()
    file = CSVFile(path, text, separator, frame.filter(filled), filled.arg_true().to_numpy())
    if not len(file.frame):
        raise RequestError(Problem(path, "has a header but no rows.", "The first line is taken for the header."))
    return file


def _text(path: str) -> str:
    with reading(path, "a CSV") as file:
        if file.stat().st_size > LARGEST:
            what = f"is larger than {LARGEST:,} bytes, and a CSV file is read at once."
            raise RequestError(Problem(path, what, "Write it as Parquet or NPY, of which rows are read as needed."))
        content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{content[error.start]:02x} is not UTF-8."
        raise RequestError(Problem(f"{path}:{line}", what, "Save the file as UTF-8.")) from None
    if (place := text.find("\0")) >= 0:
        where = f"{path}:{text.count(chr(10), 0, place) + 1}"
        raise RequestError(Problem(where, "holds the character U+0000, and so is no text.", "Save the file as UTF-8."))
    return text if "\n" in text else text.replace("\r", "\n")


def _records(path: str, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each record from the header on, with the line it starts in; an empty line is an empty record.

    RequestError where a quote is not closed or closes inside a value.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    started, line = False, 1
    try:
        for record in reader:
            started = started or bool(record)
            if started:
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        cure = "Is a quote not closed? A quote inside a value is written twice."
        raise RequestError(Problem(f"{path}:{line}", f"a value can't be read: {error}.", cure)) from None


def _header(path: str, text: str, separator: str) -> list[str]:
    """The names of the columns, once every record is seen to be well quoted and as long as they are.

    polars itself lets short rows and many a wrong quote pass. RequestError when there is no
    header, two columns have one name, or a record is wrong.
    """
    records = _records(path, text, separator)
    first, header = next(records, (1, []))
    header = [name.strip() for name in header]
    if not any(header):
        raise RequestError(Problem(path, "is empty.", "The first line must name the columns."))
    if len(header) > WIDEST:
        what = f"has {len(header):,} columns, and {WIDEST:,} are read at the most."
        raise RequestError(Problem(f"{path}:{first}", what, "Save a wide array with numpy.save, for data=npy."))
    problems = [
        Problem(f"{path}:{first}", f"{count} columns are named '{name}'.", "Rename them.")
        for name, count in sorted(Counter(header).items())
        if count > 1
    ]
    for line, record in records:
        if record and len(record) != len(header):
            what = f"{len(record)} values here, but the header has {len(header)}."
            problems.append(Problem(f"{path}:{line}", what, "Quote a value that contains the separator."))
            break
    if problems:
        raise RequestError(problems)
    return header


def _stray_quote(path: str, text: str, separator: str) -> Problem:
    """What is wrong with text that the csv module reads and polars does not."""
    quoted = (line for line, record in _records(path, text, separator) if any('"' in value for value in record))
    what = "a quote stands inside a value that is not quoted as a whole."
    return Problem(f"{path}:{next(quoted, 1)}", what, 'Write "5"" pipe" for 5" pipe.')
