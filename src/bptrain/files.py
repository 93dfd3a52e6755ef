"""Files: the one module through which bptrain changes what is on disk."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from bptrain.disk import Disk, Raw
from bptrain.errors import RunFailed

disk = Disk()


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
        return _make(path)


def _make(path: Path) -> bool:
    if not path.parent.exists():
        _make(path.parent)
    try:
        disk.mkdir(path)
    except FileExistsError:
        return False
    _sync_directory(path.parent)
    return True


def write(path: Path, content: bytes | str, wait: bool = True) -> None:
    """Replaces a file in one step: whoever opens it sees the old content or the new, never a part.

    Without `wait` it need not be on the disk when this returns: for what can be had from other files.
    """
    with replacing(path, wait) as file:
        file.write(content.encode() if isinstance(content, str) else content)


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
def replacing(path: Path, wait: bool = True) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `path` in one step once all of it is on disk or at least written."""
    temporary = path.with_name(f".{path.name}.tmp")
    with explained(path):
        try:
            with _opened(temporary) as file:
                yield file
                _finish(file, wait)
            disk.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                disk.unlink(temporary)
            raise
        if wait:
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


def replace_directory(path: Path, contents: dict[str, bytes], keep: bool = False) -> None:
    """Puts a directory with these files in the place of `path`; what was there stays until all of it is on disk.

    With `keep` it stays on as `.old` until the next call. After a crash between the two renames nothing stands at
    `path`, and the next call first puts `.old` back.
    """
    fresh, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    make_directory(path.parent)
    with explained(path):
        if old.exists() and not path.exists():
            disk.replace(old, path)
        _remove(fresh)
        try:
            disk.mkdir(fresh)
            for name, data in contents.items():
                with _opened(fresh / name) as file:
                    file.write(data)
                    _finish(file)
            _sync_directory(fresh)
            for name, data in contents.items():
                if (fresh / name).read_bytes() != data:
                    raise OSError(errno.EIO, f"{name} reads back as something else")
            if path.exists():
                _remove(old)
                disk.replace(path, old)
            disk.replace(fresh, path)
        except BaseException:
            with suppress(OSError):
                if old.exists() and not path.exists():
                    disk.replace(old, path)
                _remove(fresh)
            raise
        _sync_directory(path.parent)
        with suppress(OSError):  # the next call will
            if not keep:
                _remove(old)


def remove_directory(path: Path) -> None:
    """Removes a directory that `replace_directory` has made, and what it left of it; one that is gone is fine."""
    with explained(path):
        for copy in copies(path):
            _remove(copy)


def copies(path: Path) -> list[Path]:
    """Where `replace_directory` may have left a whole copy, the newest first."""
    fresh, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    return [found for found in (path, fresh, old) if found.is_dir() and not found.is_symlink()]


def links(path: Path) -> Iterator[Path]:
    """All in a directory that is elsewhere too, links and files with another name, and what is no file, as a pipe."""
    for folder, folders, names in os.walk(path):
        for found in (Path(folder) / name for name in (*folders, *names)):
            if found.is_symlink() or (not found.is_dir() and not (found.is_file() and found.stat().st_nlink == 1)):
                yield found


def whole(copy: Path) -> bool:
    """Whether all of such a copy was written once, whatever has become of it since."""
    return not copy.name.endswith(".new")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a file's lock, which goes with this process. RunFailed, with who holds it, while another process does."""
    import fcntl  # Windows has none

    with explained(path):
        descriptor = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFailed(f"{path.parent} is being written by {_holder(descriptor)}.") from error
        with explained(path):
            disk.truncate(descriptor, 0)
            disk.write(descriptor, f"process {os.getpid()}\n".encode())
        yield
    finally:
        disk.close(descriptor)


def _holder(descriptor: int) -> str:
    """Who holds the lock of a file; it may be about to say so."""
    for _ in range(20):
        if text := os.pread(descriptor, 100, 0).decode(errors="replace").strip():
            return text
        time.sleep(0.01)
    return "another process"


@contextmanager
def _opened(path: Path, flags: int = os.O_TRUNC) -> Iterator[io.BufferedWriter]:
    raw = Raw(disk, path, flags)
    try:
        yield io.BufferedWriter(raw)
    finally:
        raw.close()


def _finish(file: io.BufferedWriter, wait: bool = True) -> None:
    file.flush()
    if wait:
        disk.fsync(cast(Raw, file.raw).descriptor)


def _remove(path: Path) -> None:
    """Removes a directory and the files in it; a link is removed and not followed."""
    if path.is_symlink() or path.is_file():
        disk.unlink(path)
    elif path.exists():
        for child in path.iterdir():
            _remove(child)
        disk.rmdir(path)


def _sync_directory(path: Path) -> None:
    """Waits until the names in a directory are on the disk: a rename is else only in memory."""
    directory = disk.open(path, os.O_RDONLY)
    try:
        disk.fsync(directory)
    finally:
        disk.close(directory)


class Lines:
    """A text file that grows by whole lines, each of them on its way to the disk when `append` returns.

    What it has beyond `length` bytes is cut off first: what was written after the moment that is gone back to. What
    it has up to there must have the SHA-256 that `digest` gave then.
    """

    def __init__(self, path: Path, length: int | None = None, digest: str | None = None) -> None:
        self.path, self.length = path, 0
        self._hash, self._named = hashlib.sha256(), path.exists()
        with explained(path):
            self._descriptor = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                self._take_up(length, digest)
            except BaseException:
                self.close()
                raise

    def _take_up(self, length: int | None, digest: str | None) -> None:
        size = os.fstat(self._descriptor).st_size
        if length is not None and not 0 <= length <= size:
            raise RunFailed(f"{self.path} has {size} bytes, and had {length} once: lines of it are lost.")
        if length is not None and length < size:
            disk.truncate(self._descriptor, length)
        self.length = size if length is None else length
        with open(self.path, "rb") as file:
            self._hash.update(file.read())
        if digest is not None and digest != self.digest():
            raise RunFailed(f"{self.path} is not as it was written: some of its lines have changed.")

    def digest(self) -> str:
        """The SHA-256 of all of it."""
        return self._hash.hexdigest()

    def append(self, line: str) -> None:
        data = left = memoryview((line + "\n").encode())
        with explained(self.path):
            while left:
                left = left[disk.write(self._descriptor, left) :]
        self.length += len(data)
        self._hash.update(data)

    def sync(self) -> None:
        """Waits until all of it is on the disk."""
        with explained(self.path):
            disk.fsync(self._descriptor)
            if not self._named:
                _sync_directory(self.path.parent)
                self._named = True

    def close(self) -> None:
        """Lets go of the file; it can be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            disk.close(descriptor)
