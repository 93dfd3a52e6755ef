"""Forecasting: windows of a series and the values that follow each, split by time."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bptrain.config.component import setting
from bptrain.data.dataset import Data, Dataset, Part, fingerprint
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from numpy import ndarray

LONGEST = 2**20  # window or horizon
CELLS = 2**28  # numbers in all windows together: 1 GiB
SHARES = "The shares of the series, in time, that validation and test are."


@dataclass(frozen=True)
class TimeSplit:
    """The first values are for training, those that follow for validation, the last for the test."""

    validation: float = setting(0.15, "Share of the series to watch the training with; 0 for none.", minimum=0, below=1)
    test: float = setting(0.2, "Share of the series kept for the final test; 0 for none.", minimum=0, below=1)

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            what = f"validation {self.validation:g} and test {self.test:g} leave nothing to train on."
            raise RequestError(Problem("data.split", what, "Write shares that sum to less than 1."))

    def spans(self, count: int) -> dict[str, tuple[int, int]]:
        """First value and end of each part of `count` values; a part whose share is 0 is absent."""
        validation, test = (int(share * count + 1e-9) for share in (self.validation, self.test))  # 0.29 * 100 < 29
        first, last = count - test - validation, count - test
        spans = {"train": (0, first), "validation": (first, last), "test": (last, count)}
        if not self.validation:
            del spans["validation"]
        if not self.test:
            del spans["test"]
        return spans


@dataclass(frozen=True, kw_only=True)
class Forecast(Data):
    """Windows of `window` values as signals (1, window), and as targets the `horizon` values that follow each.

    The series is cut in time into training, validation and test, and the targets of a window lie all in one of them.
    A window may reach back into the part before its own, as a forecaster knows the past. Scale and naive error are
    those of the training part. `naive_error` is the mean |y_t - y_(t - period)|, by which MASE divides (Hyndman and
    Koehler, "Another look at measures of forecast accuracy", 2006).
    """

    window: int = setting(24, "Values that are seen.", minimum=1, maximum=LONGEST)
    horizon: int = setting(1, "Values to come that are forecast.", minimum=1, maximum=LONGEST)
    stride: int = setting(1, "Values from the start of one window to that of the next.", minimum=1)
    period: int = setting(1, "Values in a season; MASE compares with the value a season ago.", minimum=1)
    split: TimeSplit = setting(TimeSplit, SHARES)
    standardize: bool = setting(True, "Scale to mean 0, deviation 1 over the training part; metrics keep their units.")

    @abc.abstractmethod
    def values(self) -> ndarray:
        """The series, float64 (T,) at equal distances in time; RequestError when it can't be read."""

    def load(self, seed: int) -> Dataset:
        import numpy as np
        import torch

        series = self.values()
        spans = self.split.spans(len(series))
        known = series[: spans["train"][1]]
        seasonal = np.abs(known[self.period :] - known[: -self.period])
        if not len(seasonal) or not seasonal.mean():
            what = (
                f"is {self.period}, and over the {len(known)} values of training nothing changes from one to the next."
            )
            raise RequestError(Problem("data.period", what, "Write another period."))
        mean, deviation = (known.mean(), known.std()) if self.standardize else (0.0, 1.0)
        scaled = (series - mean) / deviation
        starts = {part: self._starts(part, span) for part, span in spans.items()}
        if sum(map(len, starts.values())) * (self.window + self.horizon) > CELLS:
            raise RequestError(Problem("data", f"its windows hold more than {CELLS} values.", "Raise data.stride."))
        parts = {}
        for part, first in starts.items():
            inputs = scaled[first[:, None] + np.arange(-self.window, 0)]  # (N, window)
            targets = scaled[first[:, None] + np.arange(self.horizon)]  # (N, horizon)
            parts[part] = Part(torch.from_numpy(inputs[:, None]).float(), torch.from_numpy(targets).float())
        return Dataset(
            name=self.name,
            task="forecasting",
            shape=(1, self.window),
            outputs=self.horizon,
            classes=(),
            parts=parts,
            target_scale=(float(deviation),) * self.horizon,
            fingerprint=fingerprint(parts),
            naive_error=float(seasonal.mean()),
        )

    def _starts(self, part: str, span: tuple[int, int]) -> ndarray:
        """Where the targets of each window of a part start; RequestError when none fits into it."""
        import numpy as np

        found = np.arange(max(span[0], self.window), span[1] - self.horizon + 1, self.stride)
        if not len(found):
            what = f"{self.window} and a horizon of {self.horizon} do not fit into the {span[1] - span[0]} values"
            raise RequestError(Problem("data.window", f"{what} of {part}.", "Write less, or another data.split."))
        return found
