"""Metrics of classes and of labels against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics as theirs
import torch

from bptrain.data.dataset import Dataset
from bptrain.errors import RequestError
from bptrain.metrics import chosen, metrics_for
from bptrain.metrics.classification import probabilities

RNG = np.random.default_rng(0)


def eighths(*shape):
    """Numbers with ties among them, of which sums are exact."""
    return (RNG.normal(size=shape) * 8).round() / 8


def compute(name, task, outputs, targets):
    (metric,) = (m for m in metrics_for(task) if m.name == name)
    made = Dataset("made", task, (1,), outputs.shape[1], (), {}, (), "")
    return metric.compute(torch.as_tensor(outputs), torch.as_tensor(targets), made).item()


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


MANY = eighths(57, 4), RNG.integers(4, size=57)
TWO = eighths(41, 2), RNG.integers(2, size=41)
ONE = eighths(41, 1), RNG.integers(2, size=41)
GAPS = RNG.normal(size=(31, 5)), RNG.choice([0, 2, 3], size=31)  # classes without an example


def called(outputs):
    return (outputs[:, 0] > 0).astype(int) if outputs.shape[1] == 1 else outputs.argmax(1)


@pytest.mark.parametrize("outputs, targets", [MANY, TWO, ONE, GAPS], ids=["many", "two", "one logit", "gaps"])
def test_shares_of_classes_are_those_of_scikit_learn(outputs, targets):
    predicted = called(outputs)
    assert compute("accuracy", "classification", outputs, targets) == pytest.approx((predicted == targets).mean())
    recalls = [(predicted[targets == k] == k).mean() for k in np.unique(targets)]
    assert compute("balanced_accuracy", "classification", outputs, targets) == pytest.approx(np.mean(recalls))
    f1 = theirs.f1_score(targets, predicted, average="macro", zero_division=0)
    assert compute("f1", "classification", outputs, targets) == pytest.approx(f1)


@pytest.mark.parametrize("outputs, targets", [MANY, TWO, ONE], ids=["many", "two", "one logit"])
def test_scores_of_probabilities_are_those_of_scikit_learn(outputs, targets):
    p = softmax(outputs) if outputs.shape[1] > 1 else sigmoid(np.hstack([-outputs, outputs]))
    np.testing.assert_allclose(probabilities(torch.as_tensor(outputs)).numpy(), p, rtol=1e-12)
    log_loss = theirs.log_loss(targets, p, labels=range(p.shape[1]))
    assert compute("log_loss", "classification", outputs, targets) == pytest.approx(log_loss)
    scores = p if p.shape[1] > 2 else outputs[:, -1] - (outputs[:, 0] if outputs.shape[1] == 2 else 0)
    area = theirs.roc_auc_score(targets, scores, multi_class="ovr")
    assert compute("auroc", "classification", outputs, targets) == pytest.approx(area)


def test_the_area_leaves_out_classes_that_have_no_pair():
    outputs, targets = GAPS
    areas = [theirs.roc_auc_score(targets == k, softmax(outputs)[:, k]) for k in (0, 2, 3)]
    assert compute("auroc", "classification", outputs, targets) == pytest.approx(np.mean(areas))


@pytest.mark.parametrize("outputs, targets", [MANY, TWO, ONE], ids=["many", "two", "one logit"])
def test_the_calibration_error_is_that_of_its_definition(outputs, targets):
    p = softmax(outputs) if outputs.shape[1] > 1 else sigmoid(np.hstack([-outputs, outputs]))
    confidence, right = p.max(1), called(outputs) == targets
    expected = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert compute("calibration_error", "classification", outputs, targets) == pytest.approx(expected)


def test_what_is_sure_and_right_is_calibrated():
    outputs = np.array([[30.0, 0.0], [0.0, 30.0]])
    assert compute("calibration_error", "classification", outputs, np.array([0, 1])) == pytest.approx(0, abs=1e-6)


def test_metrics_of_labels_are_those_of_scikit_learn():
    outputs, targets = RNG.normal(size=(43, 5)), (RNG.random((43, 5)) > 0.7).astype(np.float32)
    given = outputs > 0
    for name, expected in (
        ("f1", theirs.f1_score(targets, given, average="micro")),
        ("macro_f1", theirs.f1_score(targets, given, average="macro", zero_division=0)),
        ("subset_accuracy", theirs.accuracy_score(targets, given)),
        ("hamming_loss", theirs.hamming_loss(targets, given)),
        ("auroc", theirs.roc_auc_score(targets, outputs, average="macro")),
    ):
        assert compute(name, "multilabel", outputs, targets) == pytest.approx(expected), name


def test_a_run_computes_the_usual_metrics_those_that_are_named_and_the_monitored_one():
    def names(metrics, monitor="accuracy"):
        return {metric.name for metric in chosen(metrics, monitor, "classification")}

    assert names(None) == {"accuracy"}
    assert names(None, "auroc") == {"accuracy", "auroc"}
    assert names(("f1", "log_loss")) == {"accuracy", "f1", "log_loss"}
    assert names((), "loss") == set()


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(RequestError) as caught:
        chosen(("acuracy", "rmse"), "loss", "classification")
    assert "Did you mean 'accuracy'?" in str(caught.value)
    assert "'rmse' is no metric of classification" in str(caught.value)
