"""The series that come with statsmodels, which `make data` fetches: sunspots, El Nino, carbon dioxide on Mauna Loa."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bptrain.config.component import setting
from bptrain.data.assemble import assemble
from bptrain.data.csv_file import read_csv
from bptrain.data.dataset import Data, Dataset
from bptrain.data.fetched import FOLDER_HELP, fetched
from bptrain.data.forecast import LONGEST, SHARES, Forecast, TimeSplit
from bptrain.data.series import read_column
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from numpy import ndarray

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@dataclass(frozen=True, kw_only=True)
class Sunspots(Forecast, name="sunspots"):
    """The mean number of sunspots in each of the 309 years 1700 to 2008 (SIDC); a cycle takes about 11."""

    window: int = setting(24, "Years that are seen.", minimum=1, maximum=LONGEST)
    horizon: int = setting(1, "Years to come that are forecast.", minimum=1, maximum=LONGEST)
    period: int = setting(11, "Years in a cycle; MASE compares with the value a cycle ago.", minimum=1)
    folder: str = setting("datasets", FOLDER_HELP)

    def values(self) -> ndarray:
        return read_column(str(fetched(self.folder, "statsmodels/sunspots.csv")), "SUNACTIVITY")


@dataclass(frozen=True, kw_only=True)
class ElNino(Forecast, name="elnino"):
    """The mean temperature of the sea off Peru in each of the 732 months 1950 to 2010, in degrees Celsius (NOAA)."""

    window: int = setting(24, "Months that are seen.", minimum=1, maximum=LONGEST)
    horizon: int = setting(12, "Months to come that are forecast.", minimum=1, maximum=LONGEST)
    period: int = setting(12, "Months in a season; MASE compares with the value a season ago.", minimum=1)
    folder: str = setting("datasets", FOLDER_HELP)

    def values(self) -> ndarray:
        import numpy as np

        path = str(fetched(self.folder, "statsmodels/elnino.csv"))
        return np.stack([read_column(path, month) for month in MONTHS], 1).flatten()  # (years, 12) -> (T,)


@dataclass(frozen=True, kw_only=True)
class CO2(Forecast, name="co2"):
    """The mean CO2 on Mauna Loa in each of the 526 months 1958-03 to 2001-12, in ppm (Keeling and Whorf).

    The 5 months without a measurement, 1958-06, 1958-10, 1964-02 to 1964-04, lie on a line between their neighbours.
    """

    window: int = setting(24, "Months that are seen.", minimum=1, maximum=LONGEST)
    horizon: int = setting(12, "Months to come that are forecast.", minimum=1, maximum=LONGEST)
    period: int = setting(12, "Months in a season; MASE compares with the value a season ago.", minimum=1)
    folder: str = setting("datasets", FOLDER_HELP)

    def values(self) -> ndarray:
        import numpy as np

        months, means = monthly_means(self.folder)
        return np.interp(np.arange(months[0], months[-1] + 1), months, means)  # (T,)


@dataclass(frozen=True, kw_only=True)
class CO2OverTime(Data, name="co2_over_time"):
    """The same 521 monthly means as a function of time, a regression: x = year + month / 12, such as 1958.25 for March.

    This is the example of Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), 5.4.3, and of
    scikit-learn's page on it. x counts from the start of the year `origin`; y is minus its mean over the training part.
    """

    folder: str = setting("datasets", FOLDER_HELP)
    origin: int = setting(1958, "The year whose start is x = 0.")
    split: TimeSplit = setting(TimeSplit, SHARES)

    def load(self, seed: int) -> Dataset:
        months, means = monthly_means(self.folder)
        x = (months + 1) / 12 - self.origin  # (N,)
        spans = self.split.spans(len(x))
        centre = means[slice(*spans["train"])].mean()
        inputs = {part: x[slice(*span), None] for part, span in spans.items()}  # (N, 1)
        targets = {part: means[slice(*span)] - centre for part, span in spans.items()}
        return assemble(self.name, inputs, targets, ())


def monthly_means(folder: str) -> tuple[ndarray, ndarray]:
    """The months with a measurement, counted from January of the year 0, int64 (N,), and their means (N,)."""
    import numpy as np
    import polars

    path = str(fetched(folder, "statsmodels/co2.csv"))
    frame = read_csv(path, ",").frame
    if frame.columns != ["date", "co2"]:
        raise RequestError(Problem(path, f"has the columns {', '.join(frame.columns)}, not date and co2."))
    weeks = frame.drop_nulls("co2")
    try:
        days, values = weeks["date"].str.to_date("%Y%m%d"), weeks["co2"].cast(polars.Float64).to_numpy()
    except polars.exceptions.PolarsError as error:
        raise RequestError(Problem(path, f"{str(error).splitlines()[0]}.")) from None
    if not len(values) or not np.isfinite(values).all():
        raise RequestError(Problem(path, "holds no numbers, or one that is not finite."))
    of_weeks = (days.dt.year().cast(polars.Int64) * 12 + days.dt.month() - 1).to_numpy()
    months, which, counts = np.unique(of_weeks, return_inverse=True, return_counts=True)
    return months, np.bincount(which, values) / counts
