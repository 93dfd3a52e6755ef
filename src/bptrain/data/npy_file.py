"""An NPY file whose rows are read by their position: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import os
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bptrain.data.source_file import reading
from bptrain.errors import Problem, RequestError, RunFailed

if TYPE_CHECKING:
    from numpy import dtype, ndarray

HEADER = 2**16  # bytes within which a header must end
AXES = 32
NUMBERS = 2**21  # that are read at a time when all of a file is
WHOLE = 2**30  # bytes up to which a fingerprint is one of the whole file
BLOCK, SAMPLES = 2**20, 256  # bytes of a block, and how many of them it is taken from in a larger one
SAVED = "Save it with numpy.save, as integers or floats."


class NPYFile:
    """Numbers (N, ...) on the disk, N of them rows; the header is held against the size of the file.

    Rows are read by position and not mapped into memory, because a file that is cut short while it is mapped ends the
    process by a signal. RequestError when it is no such file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with reading(path, "an NPY") as file:
            self._descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            weakref.finalize(self, os.close, self._descriptor)
            size = os.fstat(self._descriptor).st_size
            head = os.pread(self._descriptor, HEADER, 0)
        self.shape, self.dtype, self._start = _header(path, head)
        self.width = math.prod(self.shape[1:]) * self.dtype.itemsize  # bytes of a row
        stated = self._start + self.shape[0] * self.width
        if size != stated:
            what = f"has {size} bytes, and its header states {self.shape} of {self.dtype}, which make {stated}."
            raise RequestError(Problem(path, what, "Save it again with numpy.save."))

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: ndarray) -> ndarray:
        """The rows of these indices (n,) in their order, (n, ...); those that follow each other are read in one go.

        RunFailed when they are not there any more.
        """
        import numpy as np

        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        place = found.reshape(-1).view(np.uint8).data
        begins = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist()] if len(rows) else []
        for begin, end, row in zip(begins, [*begins[1:], len(rows)], rows[begins].tolist(), strict=True):
            self._fill(place[begin * self.width : end * self.width], self._start + row * self.width)
        return found

    def blocks(self) -> Iterator[tuple[int, ndarray]]:
        """All rows from the first to the last, some at a time, each with the index of the first of them.

        RequestError where a value is no finite number, or none in float32.
        """
        import numpy as np

        step = max(1, NUMBERS // math.prod(self.shape[1:]))
        for first in range(0, len(self), step):
            block = self.read(np.arange(first, min(first + step, len(self))))
            _require_finite(self.path, first, block)
            yield first, block

    def all(self) -> ndarray:
        """All rows; RequestError where a value is no finite number."""
        import numpy as np

        return np.concatenate([block for _, block in self.blocks()])

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 in hex over dtype, shape and bytes; above WHOLE over SAMPLES blocks alone, the first and the last
        among them, so that a change between them is not seen."""
        digest = hashlib.sha256(f"{self.dtype.str} {self.shape}\n".encode())
        size = len(self) * self.width
        places: Iterable[int] = range(0, size, BLOCK)
        if size > WHOLE:
            places = (i * (size - BLOCK) // (SAMPLES - 1) for i in range(SAMPLES))
        for place in places:
            found = bytearray(min(BLOCK, size - place))
            self._fill(memoryview(found), self._start + place)
            digest.update(found)
        return digest.hexdigest()

    def _fill(self, place: memoryview, offset: int) -> None:
        while place:
            try:
                count = os.preadv(self._descriptor, [place], offset)
            except OSError as error:
                raise RunFailed(f"{self.path}: can't be read any more: {error.strerror}.") from error
            if not count:
                raise RunFailed(f"{self.path}: ends at byte {offset} now: it was cut short after it had been opened.")
            place, offset = place[count:], offset + count


def _require_finite(path: str, first: int, block: ndarray) -> None:
    import numpy as np

    if block.dtype.kind != "f":
        return
    bad = ~(np.abs(block) <= np.finfo(np.float32).max)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f"{path}[{', '.join(map(str, (first + place[0], *place[1:])))}]"
        raise RequestError(Problem(where, f"is {block[place]}, no finite number.", "Correct it, or leave the row out."))


def _header(path: str, head: bytes) -> tuple[tuple[int, ...], dtype, int]:
    """Shape, dtype, and where the numbers start; RequestError for a header that is none, or not of plain numbers."""
    import numpy as np
    from numpy.lib import format

    file = io.BytesIO(head)
    try:
        readers = {(1, 0): format.read_array_header_1_0, (2, 0): format.read_array_header_2_0}
        shape, fortran, kind = readers[format.read_magic(file)](file)
    except Exception as error:  # numpy evaluates the header as a literal, which can fail in many a way
        raise RequestError(Problem(path, "is no NPY file of numbers.", SAVED)) from error
    cure = SAVED
    if kind.kind not in "fiub" or kind.itemsize > 8:
        what = f"holds {'Python objects, which are never read' if kind.hasobject else f'values of type {kind}'}."
    elif not kind.isnative:
        what, cure = "has its bytes in the other order.", "Save x.astype(x.dtype.newbyteorder('='))."
    elif fortran and len(shape) > 1:
        what, cure = "is in Fortran order, in which no row is in one piece.", "Save numpy.ascontiguousarray(x)."
    elif len(shape) > AXES:
        what = f"has {len(shape)} axes, and {AXES} is the most."
    elif not shape or any(n < 1 for n in shape):
        what, cure = f"states the shape {shape}, which has no rows of numbers.", "The first axis counts the rows."
    else:
        return tuple(map(int, shape)), np.dtype(kind), file.tell()
    raise RequestError(Problem(path, what, cure))
