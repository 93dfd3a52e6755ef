"""Files that `make data` fetches."""

from __future__ import annotations

from pathlib import Path

from bptrain.data.source_file import refuse_others
from bptrain.errors import Problem, RequestError

FOLDER_HELP = "The folder that make data, or python -m bptrain.data.fetch, fetched into."
LARGEST = 2**30  # bytes of such a file, all of which is read
AGAIN = "Delete its folder and run make data, or python -m bptrain.data.fetch."


def fetched(folder: str, path: str) -> Path:
    """The file at `path` in the folder of fetched data; RequestError where it is not there."""
    file = Path(folder, path)
    if not file.is_file():
        raise RequestError(Problem(str(file), "is not there.", "Run make data, or python -m bptrain.data.fetch."))
    if file.stat().st_size > LARGEST:
        raise RequestError(Problem(str(file), f"is larger than {LARGEST:,} bytes.", AGAIN))
    refuse_others(file, str(file))
    return file
