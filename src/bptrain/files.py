"""Files: the one module through which bptrain changes what is on disk."""

from __future__ import annotations

import errno
import json
import math
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
    for above in path.parents:
        if above.exists() and not above.is_dir():
            raise RunFailed(f"{above} is a file: move it away.")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir()
        except FileExistsError:
            return False
    return True


def write(path: Path, content: bytes | str, wait: bool = True) -> None:
    """Replaces a file in one step: whoever opens it sees the old content or the new, never a part.

    Without `wait` it need not be on the disk when this returns: for what can be had from other files.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.tmp")
    with explained(path):
        _write(temporary, data, wait)
        os.replace(temporary, path)
        if wait:
            _sync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    write(path, to_json(value, indent=2) + "\n")


def to_json(value: Any, indent: int | None = None) -> str:
    """`value` as JSON, which has neither NaN nor infinities: they become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `path` in one step once all of it is on disk."""
    temporary = path.with_name(f".{path.name}.tmp")
    with explained(path):
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process at a time is inside for a directory, the others wait; the lock of one that dies goes with it."""
    import fcntl  # Windows has none

    with explained(directory):
        descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_directory(path: Path, contents: dict[str, bytes]) -> None:
    """Puts a directory with these files in the place of `path`; what was there stays until all of it is on disk.

    After a crash between the two renames nothing stands at `path`, and the next call first puts `.old` back.
    """
    fresh, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    with explained(path):
        if old.exists() and not path.exists():
            os.rename(old, path)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name, data in contents.items():
            _write(fresh / name, data)
        _sync_directory(fresh)
        for name, data in contents.items():
            if (fresh / name).read_bytes() != data:
                raise OSError(errno.EIO, f"{name} reads back as something else")
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(path, old)
        os.rename(fresh, path)
        _sync_directory(path.parent)
        shutil.rmtree(old, ignore_errors=True)


def copies(path: Path) -> list[Path]:
    """Where `replace_directory` may have left a whole copy, the newest first."""
    fresh, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    return [found for found in (path, fresh, old) if found.is_dir() and not found.is_symlink()]


def links(path: Path) -> Iterator[Path]:
    """All that lies in a directory and is elsewhere too: symbolic links, and files with another name."""
    for folder, folders, names in os.walk(path):
        for found in (Path(folder) / name for name in (*folders, *names)):
            if found.is_symlink() or (found.is_file() and found.stat().st_nlink > 1):
                yield found


def whole(copy: Path) -> bool:
    """Whether all of such a copy was written once, whatever has become of it since."""
    return not copy.name.endswith(".new")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a file's lock, which goes with this process. RunFailed, with who holds it, while another process does."""
    import fcntl  # Windows has none

    with explained(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 100).decode(errors="replace").strip()
            raise RunFailed(f"{path.parent} is being written by {holder or 'another process'}.") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes, wait: bool = True) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        if wait:
            os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    """Waits until the names in a directory are on the disk: a rename is else only in memory."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Lines:
    """A text file that grows by whole lines, each of them on its way to the disk when `append` returns.

    What it has beyond `length` bytes is cut off first: what was written after the moment that is gone back to.
    """

    def __init__(self, path: Path, length: int | None = None) -> None:
        self.path = path
        with explained(path):
            self._file: IO[bytes] = open(path, "ab")  # noqa: SIM115 - closed by `close`
            size = self._file.seek(0, os.SEEK_END)
            if length is not None and not 0 <= length <= size:
                self._file.close()
                raise RunFailed(f"{path} has {size} bytes, and had {length} once: lines of it are lost.")
            self.length = size if length is None else self._file.truncate(length)

    def append(self, line: str) -> None:
        data = (line + "\n").encode()
        with explained(self.path):
            self._file.write(data)
            self._file.flush()
        self.length += len(data)

    def sync(self) -> None:
        """Waits until all of it is on the disk."""
        with explained(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
