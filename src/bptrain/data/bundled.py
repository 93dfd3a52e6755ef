"""The sets that come inside scikit-learn: digits, iris, wine, breast_cancer, diabetes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bptrain.config.component import setting
from bptrain.data.assemble import BINARIZE, STANDARDIZE, STANDARDIZE_TARGET, assemble, binarized, standardized
from bptrain.data.dataset import Data, Dataset
from bptrain.data.split import SPLIT, Split, divide

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True)
class Bundled(Data):
    """A set of scikit-learn's, loaded by the function that bears its name."""

    split: Split = setting(Split, SPLIT)
    standardize: bool = setting(True, STANDARDIZE)

    def load(self, seed: int) -> Dataset:
        return self._load(seed, standardize_target=False)

    def _load(self, seed: int, standardize_target: bool, **options: Any) -> Dataset:
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{self.name}")(**options)
        classes = tuple(map(str, bunch.get("target_names", ())))
        rows = divide(bunch.target, classes, self.split, seed)
        inputs = {part: self._inputs(bunch)[chosen] for part, chosen in rows.items()}
        if self.standardize:
            inputs, _ = standardized(inputs)
        targets = {part: bunch.target[chosen] for part, chosen in rows.items()}
        return assemble(self.name, inputs, targets, classes, standardize_target)

    def _inputs(self, bunch: Any) -> ndarray:
        return bunch.data


@dataclass(frozen=True)
class Digits(Bundled, name="digits"):
    """1797 handwritten digits as images (1, 8, 8), pixels from 0 to 1; 10 classes.

    The UCI "Optical Recognition of Handwritten Digits" test set; its levels 0..16 are divided by 16.
    """

    binarize: float | None = setting(None, BINARIZE, minimum=0, below=1)

    def _inputs(self, bunch: Any) -> ndarray:
        return binarized(bunch.images[:, None] / 16, self.binarize)  # (N, 1, 8, 8)


@dataclass(frozen=True)
class Iris(Bundled, name="iris"):
    """150 flowers, 4 lengths in cm; 3 species (Fisher 1936)."""


@dataclass(frozen=True)
class Wine(Bundled, name="wine"):
    """178 wines, 13 chemical measurements; 3 growers (UCI Wine)."""


@dataclass(frozen=True)
class BreastCancer(Bundled, name="breast_cancer"):
    """569 cell nuclei images, 30 measurements; malignant or benign (UCI Breast Cancer Wisconsin, Diagnostic)."""


@dataclass(frozen=True)
class Diabetes(Bundled, name="diabetes"):
    """442 patients, 10 measurements in their own units; the progression of diabetes a year later, 25 to 346.

    Efron, Hastie, Johnstone and Tibshirani, "Least Angle Regression" (2004).
    """

    standardize_target: bool = setting(True, STANDARDIZE_TARGET)

    def load(self, seed: int) -> Dataset:
        # scikit-learn's own scaling uses all the rows, those of the test too.
        return self._load(seed, self.standardize_target, scaled=False)
