"""Metrics of tagging against scikit-learn, on the places that count."""

import numpy as np
import pytest
import sklearn.metrics as theirs
import torch

from bptrain.data.dataset import IGNORED, Dataset
from bptrain.metrics import metrics_for, monitored

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 6, 37)
TARGETS = np.where(np.arange(5) < LENGTHS[:, None], RNG.integers(3, size=(37, 5)), IGNORED)
SCORES = RNG.normal(size=(37, 5, 3)) + 1.5 * (np.arange(3) == TARGETS[..., None])
DATA = Dataset("words", "tagging", (5,), 3, ("a", "b", "c"), {}, (), "")


@pytest.fixture(params=["scores", "tags"])
def predictions(request):
    return torch.tensor(
        SCORES if request.param == "scores" else np.where(TARGETS == IGNORED, IGNORED, SCORES.argmax(2))
    )


def compute(name, predictions):
    metric = next(metric for metric in metrics_for("tagging") if metric.name == name)
    return metric.compute(predictions, torch.tensor(TARGETS), DATA).item()


def test_tokens_after_the_end_do_not_count(predictions):
    there = TARGETS != IGNORED
    expected = theirs.accuracy_score(TARGETS[there], SCORES.argmax(2)[there])
    assert compute("token_accuracy", predictions) == pytest.approx(expected)


def test_a_sequence_is_right_when_all_its_tokens_are(predictions):
    right = [(SCORES[i, :n].argmax(1) == TARGETS[i, :n]).all() for i, n in enumerate(LENGTHS)]
    assert 0 < sum(right) < 37
    assert compute("sequence_accuracy", predictions) == pytest.approx(np.mean(right))


def test_token_accuracy_is_monitored():
    assert monitored(None, "tagging") == ("token_accuracy", "max")
