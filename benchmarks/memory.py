"""The most memory that a training has at a time, as a whole process: bptrain beside the plain loop.

Resident memory as the kernel counts it (getrusage). The default run, and a 2-d CNN on images; both read the same files.
This process imports no torch, because a child's count begins with what its parent had.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

from process import BPTRAIN, HERE, PYTHON, whole
from table import Table, arguments

PLAIN = "plain loop"


def commands(epochs: int, folder: str | None) -> dict[str, list[str]]:
    """By name; with a folder of images the CNN, without one the default run."""
    words = [f"fit.epochs={epochs}", *([] if folder is None else _images(folder))]
    return {
        "python": [PYTHON, "-c", "pass"],
        "import torch": [PYTHON, "-c", "import torch"],
        PLAIN: [PYTHON, str(HERE / "plain.py"), f"{epochs}", *([] if folder is None else [folder])],
        "bptrain": [BPTRAIN, *words],
        "bptrain, no check": [BPTRAIN, *words, "check.enabled=false"],
        "bptrain, no check, compiled before": [BPTRAIN, *words, "check.enabled=false", "fit.engine=compiled"],
    }


def _images(folder: str) -> list[str]:
    return ["data=mnist", f"data.folder={folder}", "model=cnn", "model.norm=batch"]


def main() -> None:
    given = arguments(__doc__, 5)
    columns = {"MiB": ".0f", "of plain": ".2f"}
    table = Table("memory", "Peak memory of whole processes", columns, "MiB", given)
    with tempfile.TemporaryDirectory() as folder:
        written = "import sys, pathlib, workload; workload.write_images(pathlib.Path(sys.argv[1]))"
        whole([PYTHON, "-c", f"import sys; sys.path.insert(0, {str(HERE)!r}); {written}", folder], folder=folder)
        for name, epochs, images in (("64-128-128-128-10, the default run", 60, None), ("2-d CNN", 5, folder)):
            ways = commands(2 if given.quick else epochs, images)
            peaks: dict[str, list[float]] = {way: [] for way in ways}
            whole(list(ways.values())[-1], folder=folder)  # so that it is compiled
            for _ in range(given.repetitions):
                for way, command in ways.items():
                    peaks[way].append(whole(command, folder=Path(folder)).peak)
            table.section(name)
            for way, found in peaks.items():
                ratio = median(a / b for a, b in zip(found, peaks[PLAIN], strict=True))
                table.row(way, median(found), ratio)
    table.write()


if __name__ == "__main__":
    assert "torch" not in sys.modules
    main()
