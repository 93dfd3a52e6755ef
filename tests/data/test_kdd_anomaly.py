"""The anomaly series: windows that stay in their part, labels of what is judged, the scale of training alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bptrain.data.kdd_anomaly import SERIES, KDDAnomaly, NormalSplit
from bptrain.errors import RequestError

NORMAL = np.random.default_rng(0).normal(5, 3, 20).round(3)
AFTER = np.random.default_rng(1).normal(5, 3, 15).round(3)
LABELS = [0] * 9 + [1, 1] + [0] * 4


def write(folder, part, values, labels):
    lines = [
        "timestamp,value,is_anomaly",
        *(f"{t},{v},{a}" for t, (v, a) in enumerate(zip(values, labels, strict=True))),
    ]
    path = Path(f"{folder / SERIES}_{part}.csv")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "TRAIN", NORMAL, [0] * 20)
    write(tmp_path, "TEST", [*NORMAL, *AFTER], [0] * 20 + LABELS)
    return tmp_path


def load(folder, **settings):
    return KDDAnomaly(str(folder), **({"window": 5, "split": NormalSplit(0.4)} | settings)).load(0)


def close(tensor, expected):
    torch.testing.assert_close(tensor, torch.tensor(np.array(expected)).float())


@pytest.mark.parametrize("target", ["next", "window"])
def test_windows_lie_in_one_part_and_the_normal_stretch_is_not_in_the_test(folder, target):
    dataset = load(folder, standardize=False, target=target)
    more = 1 if target == "window" else 0
    for part, values in (("train", NORMAL[:12]), ("validation", NORMAL[12:]), ("test", AFTER)):
        inputs = dataset.parts[part].inputs
        assert inputs.shape == (len(values) - 5 + more, 1, 5)
        close(inputs[0, 0], values[:5])
        close(inputs[-1, 0], values[-5:] if more else values[-6:-1])


def test_a_forecast_is_judged_by_the_value_that_follows(folder):
    part = load(folder, standardize=False).parts["test"]
    close(part.targets[:, 0], AFTER[5:])
    assert part.labels.tolist() == LABELS[5:]


def test_a_reconstruction_is_judged_by_the_value_in_the_middle(folder):
    for window in (4, 5):
        part = load(folder, standardize=False, target="window", window=window).parts["test"]
        assert torch.equal(part.targets, part.inputs)
        middle = part.targets[:, 0, window // 2]
        anomalies = middle[part.labels == 1]
        close(anomalies, AFTER[9:11])
        assert len(part.labels) == len(middle)


def test_training_and_validation_have_no_anomaly(folder):
    dataset = load(folder)
    assert not dataset.parts["train"].labels.any()
    assert not dataset.parts["validation"].labels.any()
    assert dataset.quantile == 1


def test_the_scale_is_that_of_the_training_part(folder):
    dataset = load(folder)
    mean, deviation = NORMAL[:12].mean(), NORMAL[:12].std()
    close(dataset.parts["test"].targets[:, 0], (AFTER[5:] - mean) / deviation)
    assert dataset.target_scale == pytest.approx((deviation,))


def test_a_stride_thins_out_training_alone(folder):
    dense, thin = load(folder), load(folder, stride=3)
    assert torch.equal(thin.parts["train"].inputs, dense.parts["train"].inputs[::3])
    for part in ("validation", "test"):
        assert torch.equal(thin.parts[part].inputs, dense.parts[part].inputs)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"window": 8}, "data.window is 8 validation part has 8 values"),
        ({"folder": "nowhere"}, "nowhere/aeon is not there make data"),
    ],
)
def test_what_can_not_be_loaded_is_refused(folder, settings, words):
    with pytest.raises(RequestError) as error:
        KDDAnomaly(**({"folder": str(folder), "window": 5, "split": NormalSplit(0.4)} | settings)).load(0)
    assert all(word in str(error.value) for word in words.split())


def test_labels_other_than_0_and_1_are_refused(folder):
    write(folder, "TEST", [*NORMAL, *AFTER], [0] * 20 + [2, *LABELS[1:]])
    with pytest.raises(RequestError, match="other than 0 and 1"):
        load(folder)


def test_the_fetched_series_has_its_anomaly_where_the_archive_says(fetched):
    fetched("aeon")
    part = KDDAnomaly(window=64).load(0).parts["test"]
    assert len(part) == 7501 - 1200 - 64
    assert (part.labels.nonzero()[:, 0] + 1200 + 64).tolist() == list(range(4187, 4199))
