"""Losses against their formulas, and what they refuse."""

import numpy as np
import pytest
import torch

from bptrain.config.component import components
from bptrain.data.dataset import Dataset, Part
from bptrain.errors import RequestError
from bptrain.losses.classification import BinaryCrossEntropy, CrossEntropy
from bptrain.losses.regression import L1, MSE, Huber

CLASSES = ("ant", "bee", "cat")


def classes(targets, outputs=3):
    part = Part(torch.zeros(len(targets), 2), torch.tensor(targets))
    return Dataset("insects", "classification", (2,), outputs, CLASSES[:outputs], {"train": part}, (), "")


def numbers(rows=5, outputs=2):
    part = Part(torch.zeros(rows, 2), torch.zeros(rows, outputs))
    return Dataset("yields", "regression", (2,), outputs, (), {"train": part}, (1.0,) * outputs, "")


def log_softmax(z):
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def softplus(z):
    return np.log1p(np.exp(z))


OUTPUT = np.random.default_rng(0).normal(size=(5, 3))
TARGETS = [0, 2, 1, 2, 2]


def value(loss, dataset, output, targets):
    return loss.build(dataset)(torch.tensor(output, dtype=torch.float32), torch.tensor(targets)).item()


def test_cross_entropy_is_the_mean_of_minus_log_softmax():
    expected = -log_softmax(OUTPUT)[range(5), TARGETS].mean()
    assert value(CrossEntropy(), classes(TARGETS), OUTPUT, TARGETS) == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_mixes_the_target_with_all_classes():
    logs = log_softmax(OUTPUT)
    expected = -(0.7 * logs[range(5), TARGETS] + 0.3 * logs.mean(1)).mean()
    assert value(CrossEntropy(label_smoothing=0.3), classes(TARGETS), OUTPUT, TARGETS) == pytest.approx(
        expected, rel=1e-6
    )


@pytest.mark.parametrize(
    ("setting", "weight"), [((1.0, 2.0, 0.5), [1.0, 2.0, 0.5]), ("balanced", [5 / 3, 5 / 3, 5 / 9])]
)
def test_weights_of_classes_make_a_weighted_mean(setting, weight):
    w = np.array(weight)[TARGETS]
    expected = -(w * log_softmax(OUTPUT)[range(5), TARGETS]).sum() / w.sum()
    assert value(CrossEntropy(weight=setting), classes(TARGETS), OUTPUT, TARGETS) == pytest.approx(expected, rel=1e-6)


def test_balanced_weights_come_from_the_training_part():
    assert CrossEntropy(weight="balanced").build(classes([0, 0, 0, 1], 2)).weight.tolist() == pytest.approx(
        [2 / 3, 2.0]
    )


def test_weights_of_tagging_come_from_the_tokens_there_are():
    tags = torch.tensor([[0, 2, 2], [1, -100, -100], [2, 0, -100]])
    part = Part(torch.ones(3, 3, dtype=torch.long), tags)
    dataset = Dataset("words", "tagging", (3,), 3, CLASSES, {"train": part}, (), "", ("", "x"))
    assert CrossEntropy(weight="balanced").build(dataset).weight.tolist() == pytest.approx([1.0, 2.0, 2 / 3])
    output = torch.tensor(OUTPUT).expand(3, 5, 3)[:, :3]
    w = np.array([1.0, 2.0, 0.5])[tags[tags >= 0]]
    logs = log_softmax(OUTPUT)[[0, 1, 2, 0, 0, 1], tags[tags >= 0]]
    loss = CrossEntropy(weight=(1.0, 2.0, 0.5)).build(dataset).double()(output, tags)
    assert loss.item() == pytest.approx(-(w * logs).sum() / w.sum())


@pytest.mark.parametrize(("setting", "weight"), [(None, 1), (2.5, 2.5), ((2.5,), 2.5)])
def test_two_classes_are_one_logit(setting, weight):
    dataset, z = classes([0, 1, 1], 2), OUTPUT[:3, :1]
    loss = BinaryCrossEntropy(setting)
    assert loss.outputs(dataset) == 1
    expected = (softplus(z[0]) + weight * softplus(-z[1]) + weight * softplus(-z[2])) / 3
    assert value(loss, dataset, z, [0, 1, 1]) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("setting", "weight"), [(None, [1, 1, 1]), (2.0, [2, 2, 2]), ((2.0, 1.0, 0.5), [2, 1, 0.5])])
def test_more_classes_are_one_question_each(setting, weight):
    dataset, loss = classes(TARGETS), BinaryCrossEntropy(setting)
    assert loss.outputs(dataset) == 3
    yes = np.eye(3)[TARGETS]
    expected = (yes * weight * softplus(-OUTPUT) + (1 - yes) * softplus(OUTPUT)).mean()
    assert value(loss, dataset, OUTPUT, TARGETS) == pytest.approx(expected, rel=1e-6)


def test_losses_of_numbers_are_means_over_rows_and_columns():
    error = OUTPUT[:, :2]
    targets = torch.zeros(5, 2)
    output = torch.tensor(error, dtype=torch.float32)
    small = np.abs(error) < 0.5
    huber = np.where(small, error**2 / 2, 0.5 * (np.abs(error) - 0.25))
    assert small.any()
    assert not small.all()
    for loss, each in ((MSE(), error**2), (L1(), np.abs(error)), (Huber(0.5), huber)):
        assert loss.outputs(numbers()) == 2
        assert loss.build(numbers())(output, targets).item() == pytest.approx(each.mean(), rel=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "bce", "mse", "l1", "huber"])
def test_a_loss_for_another_task_is_refused_and_those_that_fit_are_named(name):
    loss = components("loss")[name]()
    dataset, fitting = (
        (numbers(), "mse, l1, huber") if "classification" in loss.tasks else (classes(TARGETS), "cross_entropy, bce")
    )
    with pytest.raises(RequestError) as error:
        loss.must_fit(dataset)
    (problem,) = error.value.problems
    assert problem.where == "loss"
    assert all(word in problem.what for word in (name, dataset.name, dataset.task))
    assert problem.instead.startswith("These fit: ")
    assert set(fitting.split(", ")) <= set(problem.instead.removeprefix("These fit: ").rstrip(".").split(", "))
    assert name not in problem.instead


REFUSED = [
    (CrossEntropy(weight=(1.0, 2.0)), classes(TARGETS), "loss.weight: 2 entries 3 classes"),
    (CrossEntropy(weight="balanced"), classes([0, 2]), "loss.weight: balanced bee list"),
    (BinaryCrossEntropy((1.0, 2.0)), classes([0, 1], 2), "loss.pos_weight: 2 entries 1 outputs"),
]


@pytest.mark.parametrize(("loss", "dataset", "words"), REFUSED)
def test_weights_that_do_not_fit_the_classes_are_refused(loss, dataset, words):
    with pytest.raises(RequestError) as error:
        loss.build(dataset)
    assert all(word in str(error.value) for word in words.split())
