"""A file that a config names: what keeps it from being read, in one message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bptrain.errors import Problem, RequestError, did_you_mean

PICKLE = ("is a pickle, which can run code when it is loaded: none is ever read.", "Save arrays with numpy.save.")
ARCHIVE = ("is an archive, such as NPZ, which is not unpacked.", "Save each of its arrays with numpy.save.")
PACKED = ("is compressed, and a small one can hold anything.", "Unpack it.")
IMAGE = ("is an image, and images are read as arrays.", "Save them with numpy.save, (N, C, H, W).")
HDF5 = ("is an HDF5 file, which is not read.", "Save each of its arrays with numpy.save.")
# What a file begins with, whatever its name is, that no reader takes.
REFUSED = {
    **{bytes([0x80, protocol]): PICKLE for protocol in range(2, 6)},
    **dict.fromkeys((b"PK\3\4", b"PK\5\6"), ARCHIVE),
    **dict.fromkeys((b"\x1f\x8b", b"BZh91AY", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"), PACKED),
    **dict.fromkeys((b"\x89PNG", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"RIFF"), IMAGE),
    b"\x89HDF": HDF5,
}


@contextmanager
def reading(path: str, kind: str) -> Iterator[Path]:
    """The file at `path`, "a CSV" say, to be read inside; RequestError when there is none, or it can't be read."""
    file = Path(path).expanduser()
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):  # reading a pipe or a device may never end
            raise RequestError(Problem(path, "is no regular file.", f"Name {kind} file."))
        refuse_others(file, path)
        yield file
    except FileNotFoundError:
        siblings = [other.name for other in file.parent.glob("*")]
        meant = did_you_mean(file.name, siblings, fallback=False)
        raise RequestError(Problem(path, f"there is no such file in {file.parent.absolute()}.", meant)) from None
    except OSError as error:
        raise RequestError(Problem(path, f"can't be read: {error.strerror}.", f"Name {kind} file.")) from None


def refuse_others(file: Path, path: str) -> None:
    """RequestError, with what to do instead, when a file begins as one that is never read."""
    with file.open("rb") as opened:
        head = opened.read(max(map(len, REFUSED)))
    for start, (what, cure) in REFUSED.items():
        if head.startswith(start):
            raise RequestError(Problem(path, what, cure))
