"""A series of the KDD Cup 2021 on anomaly detection, now in the UCR anomaly archive, which `make data` fetches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bptrain.config.component import setting
from bptrain.data.dataset import Data, Dataset, Part, fingerprint
from bptrain.data.fetched import FOLDER_HELP, fetched
from bptrain.data.forecast import LONGEST
from bptrain.data.series import read_column
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from numpy import ndarray

SERIES = "aeon/135_UCR_Anomaly_InternalBleeding16"


@dataclass(frozen=True)
class NormalSplit:
    """The share of validation; it comes from the end of the normal stretch."""

    validation: float = setting(0.2, "Share of the normal stretch that the threshold is taken from.", above=0, below=1)


@dataclass(frozen=True)
class KDDAnomaly(Data, name="kdd_anomaly"):
    """Arterial blood pressure, 7501 values with a beat in about 183; 12 of them, from 4187 on, are an anomaly.

    The first 1200 are known to be normal: they are for training and validation, and the test is what follows, 6301
    values. Windows of `window` values, which lie all in one part, are signals (1, window). With target=next a network
    forecasts the value that follows, and that value is judged; with target=window it gives the window back, and the
    value in the middle is judged. A value is called an anomaly where its error is above the `threshold`, that quantile
    of the errors on the validation part, which has no anomaly: with 1 none is called so there.
    Source: series 135 of Wu and Keogh, "Current Time Series Anomaly Detection Benchmarks are Flawed and are Creating
    the Illusion of Progress", IEEE TKDE (2021).
    """

    folder: str = setting("datasets", FOLDER_HELP)
    window: int = setting(64, "Values that are seen.", minimum=2, maximum=LONGEST)
    stride: int = setting(1, "Values from one window of training to the next; in other parts it is 1.", minimum=1)
    target: Literal["next", "window"] = setting("next", "What the network gives: the next value, or the window itself.")
    threshold: float = setting(1.0, "Quantile of the validation part's errors; 1 is the largest.", minimum=0, maximum=1)
    split: NormalSplit = setting(NormalSplit, "How much of the normal stretch is not trained on.")
    standardize: bool = setting(True, "Scale to mean 0, deviation 1 over the training part; rmse keeps its units.")

    def load(self, seed: int) -> Dataset:
        import numpy as np

        normal, series, labels = self._read()
        count = len(normal) - int(self.split.validation * len(normal))
        values = {"train": normal[:count], "validation": normal[count:], "test": series}
        for part, found in values.items():
            if len(found) <= self.window:
                what = f"is {self.window}, and the {part} part has {len(found)} values."
                raise RequestError(Problem("data.window", what, "Write a smaller one, or another data.split."))
        mean, deviation = (normal[:count].mean(), normal[:count].std()) if self.standardize else (0.0, 1.0)
        parts = {
            part: self._part(
                (found - mean) / deviation,
                labels if part == "test" else np.zeros(len(found)),
                self.stride if part == "train" else 1,
            )
            for part, found in values.items()
        }
        return Dataset(
            name=self.name,
            task="anomaly",
            shape=(1, self.window),
            outputs=1 if self.target == "next" else self.window,
            classes=(),
            parts=parts,
            target_scale=(float(deviation),),
            fingerprint=fingerprint(parts),
            quantile=self.threshold,
        )

    def _read(self) -> tuple[ndarray, ndarray, ndarray]:
        """The normal values, those of the test and their labels. The test's file has the normal ones first, again."""
        import numpy as np

        train, test = (str(fetched(self.folder, f"{SERIES}_{part}.csv")) for part in ("TRAIN", "TEST"))
        normal, series, labels = (
            read_column(train, "value"),
            read_column(test, "value"),
            read_column(test, "is_anomaly"),
        )
        if not np.isin(labels, (0, 1)).all():
            raise RequestError(Problem(test, "has values other than 0 and 1 in the column 'is_anomaly'."))
        again = len(normal) if np.array_equal(series[: len(normal)], normal) else 0
        return normal, series[again:], labels[again:]

    def _part(self, values: ndarray, labels: ndarray, stride: int) -> Part:
        import numpy as np
        import torch

        windows = np.lib.stride_tricks.sliding_window_view(values, self.window)[:, None]  # (T - window + 1, 1, window)
        if self.target == "next":
            inputs, targets, judged = windows[:-1], values[self.window :, None], labels[self.window :]
        else:
            middle = self.window // 2
            inputs, targets, judged = windows, windows, labels[middle : middle + len(windows)]
        x, y = (torch.from_numpy(numbers[::stride].astype(np.float32)) for numbers in (inputs, targets))
        return Part(x, y, torch.from_numpy(judged[::stride].astype(np.int64)))
