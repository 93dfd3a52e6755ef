"""Metrics against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics as theirs
import torch

from bptrain.data.dataset import Dataset
from bptrain.errors import RequestError
from bptrain.metrics import chosen, metrics_for, monitored


def dataset(scale=()):
    return Dataset("made", "regression", (1,), len(scale), (), {}, tuple(scale), "")


def compute(name, outputs, targets, scale=()):
    metric = next(m for task in ("classification", "regression") for m in metrics_for(task) if m.name == name)
    return metric.compute(torch.as_tensor(outputs), torch.as_tensor(targets), dataset(scale)).item()


def test_accuracy_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(57, 4)), rng.integers(4, size=57)
    assert compute("accuracy", outputs, targets) == pytest.approx(theirs.accuracy_score(targets, outputs.argmax(1)))


def test_accuracy_of_one_logit_is_by_its_sign():
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(57, 1)), rng.integers(2, size=57)
    assert compute("accuracy", outputs, targets) == pytest.approx(theirs.accuracy_score(targets, outputs[:, 0] > 0))


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("mae", theirs.mean_absolute_error),
        ("rmse", theirs.root_mean_squared_error),
        ("r2", theirs.r2_score),
    ],
)
def test_metrics_of_numbers_are_those_of_scikit_learn_in_the_units_of_the_target(name, score, columns):
    rng = np.random.default_rng(0)
    scale = rng.uniform(1, 50, columns)
    targets = rng.normal(size=(57, columns))
    outputs = targets + rng.normal(size=(57, columns)) * 0.3
    expected = score(targets * scale, outputs * scale)
    assert compute(name, outputs, targets, scale) == pytest.approx(expected)


def test_r2_of_a_constant_column_is_that_of_scikit_learn():
    targets = np.ones((5, 3))
    targets[:, 2] = range(5)
    outputs = targets.copy()
    outputs[0, 1] = outputs[1, 2] = 3.0
    assert compute("r2", outputs, targets, np.ones(3)) == pytest.approx(theirs.r2_score(targets, outputs))


def test_metrics_stay_on_the_device():
    for task, targets in (("classification", torch.tensor([0, 1])), ("regression", torch.zeros(2, 1))):
        for metric in chosen(None, "loss", task):
            value = metric.compute(torch.ones(2, 1), targets, dataset([1.0]))
            assert isinstance(value, torch.Tensor)
            assert value.shape == ()


def test_what_is_monitored_has_a_good_end():
    assert monitored(None, "classification") == ("accuracy", "max")
    assert monitored(None, "regression") == ("rmse", "min")
    assert monitored("r2", "regression") == ("r2", "max")
    assert monitored("loss", "classification") == ("loss", "min")


@pytest.mark.parametrize(
    ("name", "task", "words"),
    [
        ("acuracy", "classification", "monitor: acuracy 'accuracy'"),
        ("accuracy", "regression", "monitor: Known: loss rmse"),
    ],
)
def test_a_metric_of_another_task_is_refused(name, task, words):
    with pytest.raises(RequestError) as error:
        monitored(name, task)
    assert all(word in str(error.value) for word in words.split())
