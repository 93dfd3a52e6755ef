"""A file that a config names: what keeps it from being read, in one message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bptrain.errors import Problem, RequestError, did_you_mean


@contextmanager
def reading(path: str, kind: str) -> Iterator[Path]:
    """The file at `path`, "a CSV" say, to be read inside; RequestError when there is none, or it can't be read."""
    file = Path(path).expanduser()
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):  # reading a pipe or a device may never end
            raise RequestError(Problem(path, "is no regular file.", f"Name {kind} file."))
        yield file
    except FileNotFoundError:
        siblings = [other.name for other in file.parent.glob("*")]
        meant = did_you_mean(file.name, siblings, fallback=False)
        raise RequestError(Problem(path, f"there is no such file in {file.parent.absolute()}.", meant)) from None
    except OSError as error:
        raise RequestError(Problem(path, f"can't be read: {error.strerror}.", f"Name {kind} file.")) from None
