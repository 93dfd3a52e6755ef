"""Files: the one module through which bptrain changes what is on disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bptrain.errors import RunFailed


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what the operating system refuses into a message: RunFailed."""
    try:
        yield
    except OSError as error:
        raise RunFailed(f"{path}: {error.strerror or error}. Nothing more can be written there.") from error


def make_directory(path: Path) -> bool:
    """Makes a directory and those above it; False when it is there already."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir()
        except FileExistsError:
            return False
    return True


def write(path: Path, content: bytes | str) -> None:
    """Replaces a file in one step: whoever opens it sees the old content or the new, never a part."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.tmp")
    with explained(path):
        _write(temporary, data)
        os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    write(path, json.dumps(value, indent=2) + "\n")


def replace_directory(path: Path, contents: dict[str, bytes]) -> None:
    """Puts a directory with these files in the place of `path`; what was there stays until all of it is on disk."""
    fresh, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    with explained(path):
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name, data in contents.items():
            _write(fresh / name, data)
        if path.exists():
            os.rename(path, old)
        os.rename(fresh, path)
        shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class Lines:
    """A text file that grows by whole lines, each of them on its way to the disk when `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path):
            self._file: IO[str] = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by `close`

    def append(self, line: str) -> None:
        with explained(self.path):
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()
