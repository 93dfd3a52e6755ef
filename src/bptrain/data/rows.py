"""Rows of a file that stand in for a tensor in memory, and are read when they are asked for."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bptrain.data.npy_file import NPYFile
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from concurrent.futures import Future

    import torch
    from numpy import ndarray
    from torch import Tensor

IN_MEMORY = "Write data.in_memory=true if they fit into it."
PORTION = 2**22  # numbers that are read at a time


@dataclass(frozen=True, eq=False)
class Rows:
    """The `rows` (n,) of a file as float32 (n, ...), or as another dtype made of that.

    `columns` are those features that count, None for all. `mean` and `deviation`, which broadcast with a row, are
    taken off and divided by in float64. `workers` threads may read ahead, and put what they read into `ready`, under
    the id of the batch that asks for it. What is never asked for takes no memory: indexing, `index_select` and
    `split` read, and nothing else does.
    """

    file: NPYFile
    rows: ndarray
    workers: int = 0
    columns: ndarray | None = None
    mean: ndarray | None = None
    deviation: ndarray | None = None
    device: torch.device | str = "cpu"
    dtype: torch.dtype | None = None
    ready: dict[int, Future[Tensor]] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        example = self.file.shape[1:] if self.columns is None else (len(self.columns),)
        return (len(self), *example)

    def is_floating_point(self) -> bool:
        return True

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Rows:
        return replace(self, device=device, dtype=dtype)

    def index_select(self, axis: int, batch: Tensor) -> Tensor:
        future = self.ready.get(id(batch))
        return self.read(batch) if future is None else future.result()

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        import torch

        return self.index_select(0, torch.arange(len(self))[index] if isinstance(index, slice) else index)

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows, so many at a time, and fewer where they are very wide."""
        import torch

        size = min(size, max(1, PORTION // math.prod(self.shape[1:])))
        return map(self.read, torch.arange(len(self)).split(size))

    def read(self, batch: Tensor) -> Tensor:
        """The rows of these indices (b,), whatever is ready."""
        import numpy as np
        import torch

        x = self.file.read(self.rows[batch.cpu().numpy()])
        if self.columns is not None:
            x = x[:, self.columns]
        if self.mean is not None:
            x = x - self.mean  # float64
            x /= self.deviation
        return torch.from_numpy(x.astype(np.float32, order="C")).to(self.device, self.dtype)

    def fingerprint(self) -> str:
        """SHA-256 in hex over the file's digest, the indices of the rows, and what is done to them."""
        digest = hashlib.sha256(f"{self.file.digest} {self.shape}\n".encode())
        for array in (self.rows, self.columns, self.mean, self.deviation):
            digest.update(b"none" if array is None else array.tobytes())
        return digest.hexdigest()

    @classmethod
    def __torch_function__(cls, function: Any, *_: Any) -> Any:
        name = getattr(function, "__name__", function)
        raise RequestError(Problem("data", f"is read while it trains, and {name} needs all rows at once.", IN_MEMORY))
