"""Disk: the operations through which every change of a file passes, so that tests can make each of them fail."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any


class Disk:
    """What `os` does under these names. An interrupted call is made again by Python itself (PEP 475)."""

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, 0o666)

    def write(self, descriptor: int, data: Any) -> int:
        """Writes some of the bytes, and returns how many."""
        return os.write(descriptor, data)

    def truncate(self, descriptor: int, length: int) -> None:
        os.ftruncate(descriptor, length)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def replace(self, old: Path, new: Path) -> None:
        os.replace(old, new)

    def mkdir(self, path: Path) -> None:
        os.mkdir(path)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        os.rmdir(path)


class Raw(io.RawIOBase):
    """A file that is written through a disk; `io.BufferedWriter` around it writes what is left of a short write.

    It has no `fileno`, so that nobody writes past it.
    """

    def __init__(self, disk: Disk, path: Path, flags: int = os.O_TRUNC) -> None:
        self.disk, self.descriptor = disk, disk.open(path, os.O_WRONLY | os.O_CREAT | flags)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self.disk.write(self.descriptor, data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self.disk.close(self.descriptor)
