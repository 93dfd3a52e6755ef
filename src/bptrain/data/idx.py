"""IDX files, as MNIST comes in: http://yann.lecun.com/exdb/mnist/ has the format.

Two zero bytes, the type of the numbers (8: unsigned bytes), how many axes there are, the length of each as a
big-endian 32-bit integer, then the numbers, the last axis fastest.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from bptrain.data.fetched import AGAIN
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from numpy import ndarray


def read_idx(path: Path, example: tuple[int, ...]) -> ndarray:
    """The unsigned bytes of a file, (N, *example); RequestError where it is none, or holds examples of another shape.

    The lengths that it states must be those of the file on disk, which is read after that.
    """
    import numpy as np

    start = 4 + 4 * (1 + len(example))
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(start)
        if len(head) < start or head[:4] != bytes([0, 0, 8, 1 + len(example)]):
            raise RequestError(Problem(str(path), f"is no IDX file of bytes with {1 + len(example)} axes.", AGAIN))
        rows, *shape = struct.unpack(f">{1 + len(example)}I", head[4:])
        if tuple(shape) != example or not rows:
            raise RequestError(Problem(str(path), f"holds {rows} examples of {tuple(shape)}, not of {example}.", AGAIN))
        stated = start + rows * math.prod(example)
        if size != stated:
            what = f"has {size} bytes, and {rows} examples of {example} make {stated}."
            raise RequestError(Problem(str(path), what, AGAIN))
        return np.frombuffer(file.read(), np.uint8).reshape(rows, *example)  # (N, *example)
