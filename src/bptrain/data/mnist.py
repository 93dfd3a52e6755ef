"""MNIST (LeCun, Cortes and Burges): handwritten digits as images, from the IDX files that `make data` fetches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bptrain.config.component import setting
from bptrain.data.assemble import BINARIZE, STANDARDIZE, assemble, binarized, standardized
from bptrain.data.dataset import Data, Dataset
from bptrain.data.fetched import AGAIN, FOLDER_HELP, fetched
from bptrain.data.idx import read_idx
from bptrain.data.split import SPLIT, OwnTestSplit, Split, divide
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True)
class MNIST(Data, name="mnist"):
    """60,000 images for training and 10,000 for the test, each (1, 28, 28), pixels from 0 to 1; 10 classes.

    LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition" (1998). Validation
    comes out of the 60,000.
    """

    folder: str = setting("datasets", FOLDER_HELP)
    rows: int | None = setting(
        None, "How many of the 60,000 to train and validate with, the first ones; null for all.", minimum=1
    )
    split: OwnTestSplit = setting(OwnTestSplit, SPLIT)
    standardize: bool = setting(False, STANDARDIZE)
    binarize: float | None = setting(None, BINARIZE, minimum=0, below=1)

    def load(self, seed: int) -> Dataset:
        images, labels = self._read("train", self.rows)
        classes = tuple(map(str, range(10)))
        rows = divide(labels, classes, Split(self.split.validation, 0, self.split.by), seed)
        test_images, test_labels = self._read("t10k", None)
        inputs = {part: images[chosen] for part, chosen in rows.items()} | {"test": test_images}
        targets = {part: labels[chosen] for part, chosen in rows.items()} | {"test": test_labels}
        if self.standardize:
            inputs, _ = standardized(inputs)
        return assemble(self.name, inputs, targets, classes)

    def _read(self, part: str, rows: int | None) -> tuple[ndarray, ndarray]:
        """Images (N, 1, 28, 28) from 0 to 1 and labels (N,) of the first `rows`; RequestError for wrong files."""
        import numpy as np

        images = read_idx(fetched(self.folder, f"mnist/{part}-images-idx3-ubyte"), (28, 28))
        path = fetched(self.folder, f"mnist/{part}-labels-idx1-ubyte")
        labels = read_idx(path, ())
        if len(labels) != len(images):
            raise RequestError(Problem(str(path), f"has {len(labels)} labels for {len(images)} images.", AGAIN))
        if labels.max() > 9:
            raise RequestError(Problem(str(path), f"has the label {labels.max()}, which is no digit.", AGAIN))
        if rows is not None and rows > len(images):
            raise RequestError(Problem("data.rows", f"is {rows}, and the training part has {len(images)} rows."))
        pixels = binarized(images[:rows, None] / np.float32(255), self.binarize)  # (N, 1, 28, 28)
        return pixels, labels[:rows].astype(np.int64)
