"""Series to forecast: which values a window holds, and that training knows nothing of what comes later."""

import numpy as np
import pytest
import torch

from bptrain.data.forecast import TimeSplit
from bptrain.data.series import Series
from bptrain.data.statsmodels import CO2, CO2OverTime, ElNino, Sunspots
from bptrain.errors import RequestError
from bptrain.metrics import metrics_for, monitored

VALUES = np.random.default_rng(0).normal(5, 3, 60)


@pytest.fixture
def load(tmp_path):
    def load(values=VALUES, **settings):
        path = tmp_path / "series.csv"
        path.write_text("t,y\n" + "".join(f"{t},{y!r}\n" for t, y in enumerate(map(float, values))))
        defaults = {"window": 5, "horizon": 3, "split": TimeSplit(0.2, 0.25), "standardize": False}
        return Series(**{"path": str(path), "column": "y", **defaults, **settings}).load(0)

    return load


def test_a_window_is_followed_by_its_targets(load):
    train = load(stride=2).parts["train"]  # of the first 33 values
    assert train.inputs.shape == (13, 1, 5)
    for i in range(13):
        np.testing.assert_allclose(train.inputs[i, 0], VALUES[2 * i : 2 * i + 5], rtol=1e-6)
        np.testing.assert_allclose(train.targets[i], VALUES[2 * i + 5 : 2 * i + 8], rtol=1e-6)


def test_no_value_is_a_target_of_two_parts_and_every_value_of_later_parts_is_one(load):
    parts = load(horizon=1).parts
    targets = [set(part.targets[:, 0].tolist()) for part in parts.values()]
    assert [len(t) for t in targets] == [33 - 5, 12, 15]
    assert len(set.union(*targets)) == sum(map(len, targets))


def test_training_does_not_change_with_what_comes_after_it(load):
    later = VALUES.copy()
    later[33:] = 1e6
    one, other = load(standardize=True, period=4), load(later, standardize=True, period=4)
    assert torch.equal(one.parts["train"].inputs, other.parts["train"].inputs)
    assert torch.equal(one.parts["train"].targets, other.parts["train"].targets)
    assert (one.target_scale, one.naive_error) == (other.target_scale, other.naive_error)


def test_scale_and_naive_error_are_those_of_the_training_values(load):
    loaded = load(standardize=True, period=4)
    known = VALUES[:33]
    assert loaded.target_scale == pytest.approx((known.std(),) * 3)
    assert loaded.naive_error == pytest.approx(np.abs(known[4:] - known[:-4]).mean())
    np.testing.assert_allclose(loaded.parts["test"].targets[0], (VALUES[45:48] - known.mean()) / known.std(), rtol=1e-5)


def test_mase_is_first_and_is_1_for_the_naive_forecast_of_the_training_part(load):
    loaded = load(horizon=1, window=4, period=4, standardize=True)
    train = loaded.parts["train"]
    mase = metrics_for("forecasting")[0]
    assert (mase.name, monitored(None, "forecasting")) == ("mase", ("mase", "min"))
    assert mase.compute(train.inputs[:, 0, :1], train.targets, loaded).item() == pytest.approx(1)


def test_parts_without_a_share_are_absent(load):
    assert list(load(split=TimeSplit(0, 0.25)).parts) == ["train", "test"]
    assert list(load(split=TimeSplit(0, 0)).parts) == ["train"]


REFUSED = [
    ({"window": 40}, "data.window: 40 horizon 3 33 values train"),
    ({"horizon": 13}, "data.window: validation 12 values"),
    ({"period": 33}, "data.period: 33 another"),
    ({"column": "z"}, "data.column: 'z'"),
    ({"values": [1.0] * 60}, "'y' 1 every row"),
]


@pytest.mark.parametrize(("settings", "words"), REFUSED)
def test_what_does_not_fit_is_refused(load, settings, words):
    with pytest.raises(RequestError) as error:
        load(**settings)
    assert all(word in str(error.value) for word in words.split()), str(error.value)


def test_shares_that_leave_nothing_are_refused():
    with pytest.raises(RequestError, match="leave nothing to train on"):
        TimeSplit(0.5, 0.5)


def test_a_month_is_the_mean_of_its_weeks_and_a_missing_one_lies_between_its_neighbours(tmp_path):
    (tmp_path / "statsmodels").mkdir()
    weeks = ["19991128,10", "19991205,1", "19991212,2", "19991219,", "20000102,", "20000203,5.5"]
    (tmp_path / "statsmodels" / "co2.csv").write_text("date,co2\n" + "\n".join(weeks) + "\n")
    settings = {"folder": str(tmp_path), "split": TimeSplit(0, 0)}
    assert CO2(**settings).values().tolist() == [10, 1.5, 3.5, 5.5]
    part = CO2OverTime(**settings, origin=1999).load(0).parts["train"]
    np.testing.assert_allclose(part.inputs[:, 0], np.array([11, 12, 14]) / 12, rtol=1e-6)
    np.testing.assert_allclose(part.targets[:, 0], np.array([10, 1.5, 5.5]) - 17 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("day,co2\n1,2\n", "not date and co2"),
        ("date,co2\n1999,2\n", "co2.csv: "),
        ("date,co2\n19990101,\n", "no numbers"),
    ],
)
def test_a_file_that_is_another_one_is_refused(tmp_path, text, words):
    (tmp_path / "statsmodels").mkdir()
    (tmp_path / "statsmodels" / "co2.csv").write_text(text)
    with pytest.raises(RequestError, match=words):
        CO2(folder=str(tmp_path)).load(0)


@pytest.mark.parametrize("data", [Sunspots, ElNino, CO2, CO2OverTime])
def test_without_its_file_the_message_says_how_to_get_it(data, tmp_path):
    with pytest.raises(RequestError, match="make data"):
        data(folder=str(tmp_path)).load(0)


def test_the_series_of_statsmodels_have_their_lengths_and_ends(fetched):
    fetched("statsmodels")
    sunspots, elnino, co2 = Sunspots().values(), ElNino().values(), CO2().values()
    assert (len(sunspots), sunspots[0], sunspots[-1]) == (309, 5, 2.9)
    assert (len(elnino), elnino[1], elnino[12]) == (732, 24.2, 24.19)
    assert (len(co2), round(co2[0], 2)) == (526, 316.1)
    parts = CO2OverTime(split=TimeSplit(0, 0.2323)).load(0).parts
    assert (len(parts["train"]), len(parts["test"])) == (400, 121)
    assert parts["test"].inputs[0].item() == 34  # December 1991
