"""MNIST-1D (Greydanus and Kobak, arXiv 2011.14439): digits as signals of 40 points, made by the package mnist1d."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import Any

from bptrain.config.component import setting
from bptrain.data.assemble import STANDARDIZE, assemble, standardized
from bptrain.data.dataset import Data, Dataset
from bptrain.data.split import SPLIT, OwnTestSplit, Split, divide
from bptrain.errors import Problem, RequestError


@dataclass(frozen=True)
class MNIST1D(Data, name="mnist1d"):
    """4000 signals for training and 1000 for the test, each (1, 40); 10 classes.

    Validation comes out of the 4000. The signals come with mean 0 and deviation 1 over all 5000, as the
    published figures have them; `standardize` does it again with the training part alone.
    """

    split: OwnTestSplit = setting(OwnTestSplit, SPLIT)
    standardize: bool = setting(False, STANDARDIZE)

    def load(self, seed: int) -> Dataset:
        made = _make()
        classes = tuple(map(str, range(10)))
        x, y = made["x"][:, None], made["y"]  # (4000, 1, 40), (4000,)
        rows = divide(y, classes, Split(self.split.validation, 0, self.split.by), seed)
        inputs = {part: x[chosen] for part, chosen in rows.items()} | {"test": made["x_test"][:, None]}
        targets = {part: y[chosen] for part, chosen in rows.items()} | {"test": made["y_test"]}
        if self.standardize:
            inputs, _ = standardized(inputs)
        return assemble(self.name, inputs, targets, classes)


@functools.cache
def _make() -> dict[str, Any]:
    """What mnist1d generates from its own seed 42. It seeds the global generators, so they are put back."""
    import numpy as np

    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise RequestError(
            Problem("data=mnist1d", f"needs the package mnist1d ({error}).", 'Run pip install "bptrain[mnist1d]".')
        ) from None
    python, numpy = random.getstate(), np.random.get_state()
    try:
        return make_dataset(get_dataset_args())
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
