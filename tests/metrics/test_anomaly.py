"""Anomaly detection: the threshold comes from validation, precision, recall and F1 are scikit-learn's."""

from contextlib import nullcontext

import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support
from torch import nn

from bptrain.data.dataset import Dataset, Part
from bptrain.metrics import metrics_for
from bptrain.metrics.anomaly import f1, located, precision, recall
from bptrain.train.evaluation import evaluate


def series(targets, labels):
    """Examples whose network's output, their input, is 0: the error is the square of the target."""
    return Part(torch.zeros(len(targets), 1, 3), torch.tensor(targets)[:, None], torch.tensor(labels))


class Flat(nn.Module):
    def forward(self, x):
        return x[:, :, 0]


def scores(validation, test, labels, quantile=1.0, scale=2.0):
    parts = {"validation": series(validation, [0] * len(validation)), "test": series(test, labels)}
    dataset = Dataset("pulse", "anomaly", (1, 3), 1, (), parts, (scale,), "", quantile=quantile)
    return evaluate(Flat(), nn.MSELoss(), dataset, "test", metrics_for("anomaly"), nullcontext())


@pytest.mark.parametrize("seed", range(5))
def test_precision_recall_and_f1_are_those_of_scikit_learn(seed):
    generator = torch.Generator().manual_seed(seed)
    errors = torch.rand(37, generator=generator)
    labels = torch.randint(2, (37,), generator=generator)
    threshold = torch.tensor([0.5, 0.1, 0.9, 0.99, 2.0][seed])
    expected = precision_recall_fscore_support(labels, errors > threshold, average="binary", zero_division=0)
    found = [metric((errors, threshold), labels, None).item() for metric in (precision, recall, f1)]
    assert found == pytest.approx(expected[:3])


def test_an_error_above_the_largest_of_validation_is_an_anomaly():
    found = scores([1.0, -3.0, 2.0], [3.0, -3.5, 4.0, 1.0], [0, 1, 0, 1])
    assert found["precision"] == 0.5  # 3.5 and 4 are above 3, and 3 itself is not
    assert found["recall"] == 0.5


def test_a_lower_quantile_of_the_errors_of_validation_calls_more():
    found = scores([1.0, -3.0, 2.0], [3.0, -3.5, 4.0, 1.0], [0, 1, 0, 1], quantile=0.5)
    assert found["precision"] == pytest.approx(1 / 3)


def test_the_monitored_error_is_in_units_of_the_series():
    assert metrics_for("anomaly")[0].name == "rmse"
    assert scores([1.0], [3.0, 4.0], [0, 0])["rmse"] == pytest.approx(2 * 12.5**0.5)


def test_a_window_is_judged_in_its_middle():
    x = torch.zeros(2, 1, 4)
    x[1, 0, 2] = 1
    x[0, 0, [0, 1, 3]] = 9
    part = Part(x, x, torch.tensor([0, 1]))
    normal = Part(torch.full((1, 1, 4), 0.5), torch.full((1, 1, 4), 0.5), torch.tensor([0]))
    dataset = Dataset("pulse", "anomaly", (1, 4), 4, (), {"validation": normal, "test": part}, (1.0,), "")
    model = nn.Flatten(2)
    model.predict = torch.zeros_like
    found = evaluate(model, nn.MSELoss(), dataset, "test", metrics_for("anomaly"), nullcontext())
    assert found["f1"] == 1


@pytest.mark.parametrize(("place", "expected"), [(149, 0), (150, 1), (251, 1), (353, 1), (354, 0)])
def test_the_highest_error_may_lie_100_examples_off(place, expected):
    errors, labels = torch.zeros(500), torch.zeros(500, dtype=torch.int64)
    errors[place], labels[250:254] = 1, 1
    assert located((errors, torch.tensor(0.5)), labels, None) == expected


def test_without_anomalies_nothing_is_found():
    found = scores([1.0], [0.5], [0])
    assert [found[name] for name in ("precision", "recall", "f1", "located")] == [0] * 4
