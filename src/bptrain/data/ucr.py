"""The UCR archive (Dau et al. 2019, arXiv 1810.07758): time series to classify, each set with its own split."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bptrain.config.component import setting
from bptrain.data.assemble import STANDARDIZE, assemble, standardized
from bptrain.data.dataset import Data, Dataset
from bptrain.data.fetched import FOLDER_HELP, fetched
from bptrain.data.split import SPLIT, OwnTestSplit, Split, divide
from bptrain.data.ts_file import read_ts
from bptrain.errors import Problem, RequestError


@dataclass(frozen=True)
class UCR(Data, name="ucr"):
    """Series (1, L) of one variable, read from <folder>/aeon/<set>_TRAIN.ts and <set>_TEST.ts.

    Fetched are GunPoint (50 + 150 of length 150, 2 classes), ItalyPowerDemand (67 + 1029 of 24, 2) and ArrowHead
    (36 + 175 of 251, 3); another set of the archive goes beside them. Each series comes with mean 0 and deviation 1.
    Validation comes out of the training part, which is small: with `split.validation=0` nothing is held out,
    as in the published figures, and the loss picks the best epoch.
    """

    set: str = setting("GunPoint", "The name of the set: GunPoint, ItalyPowerDemand, ArrowHead.")
    folder: str = setting("datasets", FOLDER_HELP)
    split: OwnTestSplit = setting(OwnTestSplit, SPLIT)
    standardize: bool = setting(False, STANDARDIZE)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", self.set):
            raise RequestError(Problem("data.set", f"'{self.set}' is no name of a set.", "Write GunPoint, say."))

    def load(self, seed: int) -> Dataset:
        import numpy as np

        (x, labels), (x_test, test_labels) = (
            read_ts(fetched(self.folder, f"aeon/{self.set}_{part}.ts")) for part in ("TRAIN", "TEST")
        )
        classes = sorted({*labels})
        if unknown := {*test_labels} - {*classes}:
            what = f"has the classes {', '.join(sorted(unknown))}, which no series of the training part has."
            raise RequestError(Problem(f"data.set={self.set}", f"its test part {what}"))
        if x.shape[1] != x_test.shape[1]:
            what = f"its series are of length {x.shape[1]} in the training part and {x_test.shape[1]} in the test part."
            raise RequestError(Problem(f"data.set={self.set}", what))
        y = np.array([classes.index(label) for label in labels])
        rows = divide(y, tuple(classes), Split(self.split.validation, 0, self.split.by), seed)
        inputs = {part: x[chosen, None] for part, chosen in rows.items()} | {"test": x_test[:, None]}  # (N, 1, L)
        targets = {part: y[chosen] for part, chosen in rows.items()}
        targets["test"] = np.array([classes.index(label) for label in test_labels])
        if self.standardize:
            inputs, _ = standardized(inputs)
        return assemble(self.name, inputs, targets, tuple(classes))
