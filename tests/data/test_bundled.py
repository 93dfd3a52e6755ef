"""scikit-learn's sets and MNIST-1D as datasets."""

import random
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits

from bptrain.config.component import components
from bptrain.data.assemble import assemble, standardized
from bptrain.data.bundled import Diabetes, Digits, Iris, Wine
from bptrain.data.dataset import fingerprint
from bptrain.data.mnist1d import MNIST1D, _make
from bptrain.data.split import OwnTestSplit, Split
from bptrain.errors import RequestError

TABLE = {  # rows of train, validation and test; shape; outputs
    "digits": (1169, 269, 359, (1, 8, 8), 10),
    "iris": (98, 22, 30, (4,), 3),
    "wine": (117, 26, 35, (13,), 3),
    "breast_cancer": (371, 85, 113, (30,), 2),
    "diabetes": (288, 66, 88, (10,), 1),
    "mnist1d": (3400, 600, 1000, (1, 40), 10),
}


@pytest.mark.parametrize("name", TABLE)
def test_shapes_and_types(name):
    *lengths, shape, outputs = TABLE[name]
    loaded = components("data")[name]().load(0)
    assert (loaded.name, loaded.shape, loaded.outputs) == (name, shape, outputs)
    assert {part: len(rows) for part, rows in loaded.parts.items()} == dict(
        zip(("train", "validation", "test"), lengths, strict=True)
    )
    assert loaded.fingerprint == fingerprint(loaded.parts)
    for part in loaded.parts.values():
        assert part.inputs.dtype == torch.float32
        assert part.inputs.shape[1:] == shape
        if loaded.task == "classification":
            assert part.targets.dtype == torch.int64
            assert part.targets.shape == (len(part),)
            assert part.targets.unique().tolist() == list(range(outputs))
        else:
            assert part.targets.dtype == torch.float32
            assert part.targets.shape == (len(part), outputs)
    if loaded.task == "classification":
        assert len(set(loaded.classes)) == outputs
        assert loaded.target_scale == ()
    else:
        assert loaded.classes == ()


@pytest.mark.parametrize("name", TABLE)
def test_same_seed_gives_the_same_bits_and_another_seed_another_split(name):
    component = components("data")[name]()
    one, same, other = (component.load(seed) for seed in (7, 7, 8))
    assert one.fingerprint == same.fingerprint
    assert all(torch.equal(one.parts[part].inputs, same.parts[part].inputs) for part in one.parts)
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("name", TABLE)
def test_no_global_generator_is_moved_or_used(name):
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    first = components("data")[name]().load(1).fingerprint
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    random.seed(4), np.random.seed(4), torch.manual_seed(4)
    assert components("data")[name]().load(1).fingerprint == first


@pytest.mark.parametrize("name", TABLE)
def test_statistics_are_those_of_the_training_part_alone(name):
    parts = components("data")[name](standardize=True).load(0).parts
    train = parts["train"].inputs.double().transpose(0, 1).flatten(1)  # (F, N), or (C, N * H * W)
    zeros, ones = torch.zeros(len(train), dtype=torch.float64), torch.ones(len(train), dtype=torch.float64)
    torch.testing.assert_close(train.mean(1), zeros, atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std(1, correction=0), ones, atol=1e-5, rtol=0)
    everything = torch.cat([part.inputs for part in parts.values()]).double().transpose(0, 1).flatten(1)
    assert everything.mean(1).abs().max() > 1e-4


def test_each_feature_of_a_table_and_each_channel_of_images_is_standardized_by_itself():
    table = np.array([[1.0, 10.0, 7.0], [3.0, 30.0, 7.0]])
    scaled, deviations = standardized({"train": table, "test": table[:1] + 2})
    assert scaled["train"].tolist() == [[-1, -1, 0], [1, 1, 0]]
    assert scaled["test"].tolist() == [[1, -0.8, 2]]
    assert deviations.tolist() == [1, 10, 1]

    images = np.random.default_rng(0).normal([[[[3.0]], [[-2.0]]]], [[[[5.0]], [[0.1]]]], (7, 2, 3, 4))
    scaled = standardized({"train": images})[0]["train"]
    for channel in (0, 1):
        x = images[:, channel]
        np.testing.assert_allclose(scaled[:, channel], (x - x.mean()) / x.std())


def test_tensors_are_contiguous_whatever_the_arrays_are():
    images = np.moveaxis(np.arange(24.0).reshape(2, 3, 2, 2), -1, 1)  # (2, 2, 3, 2)
    part = assemble("x", {"train": images}, {"train": np.array([0, 1])}, ("a", "b")).parts["train"]
    assert part.inputs.is_contiguous()
    assert part.inputs.tolist() == images.tolist()


def test_digits_are_the_images_of_scikit_learn():
    loaded = Digits(split=Split(0, 0.25, "order"), standardize=False).load(0)
    images = torch.tensor(load_digits().images, dtype=torch.float32)
    assert torch.equal(loaded.parts["train"].inputs[:, 0] * 16, images[: len(loaded.parts["train"])])
    assert torch.equal(loaded.parts["test"].inputs[:, 0] * 16, images[len(loaded.parts["train"]) :])
    assert loaded.parts["test"].targets.tolist() == load_digits().target[len(loaded.parts["train"]) :].tolist()


def test_no_row_is_in_two_parts():
    parts = Wine(standardize=False).load(0).parts
    rows = [tuple(row) for part in parts.values() for row in part.inputs.tolist()]
    assert len(set(rows)) == len(rows) == 178


def test_each_part_has_the_shares_of_each_class():
    parts = Iris().load(2).parts
    assert parts["test"].targets.bincount().tolist() == [10, 10, 10]
    for part in parts.values():
        counts = part.targets.bincount()
        assert counts.max() - counts.min() <= 1


def test_the_target_is_standardized_and_its_scale_kept():
    raw = Diabetes(standardize_target=False).load(0)
    loaded = Diabetes().load(0)
    assert raw.target_scale == (1.0,)
    y, scaled = raw.parts["train"].targets.double(), loaded.parts["train"].targets.double()
    assert loaded.target_scale == pytest.approx((y.std(correction=0).item(),))
    torch.testing.assert_close(scaled * loaded.target_scale[0] + y.mean(), y, atol=1e-3, rtol=0)
    torch.testing.assert_close(scaled.mean(), torch.zeros_like(scaled.mean()), atol=1e-6, rtol=0)
    assert loaded.parts["test"].targets.mean().abs() > 1e-4
    assert raw.parts["test"].targets.min() >= 25


def test_diabetes_comes_in_the_units_of_its_measurements():
    loaded = Diabetes(split=Split(0, 0), standardize=False).load(0)
    ages = sorted(loaded.parts["train"].inputs[:, 0].tolist())
    assert ages == sorted(load_diabetes(scaled=False).data[:, 0].tolist())


def test_mnist1d_keeps_its_own_test_part():
    one = MNIST1D(split=OwnTestSplit(validation=0)).load(0)
    other = MNIST1D(split=OwnTestSplit(validation=0.5, by="random")).load(1)
    assert list(one.parts) == ["train", "test"]
    assert len(one.parts["train"]) == 4000
    assert torch.equal(one.parts["test"].inputs, other.parts["test"].inputs)
    everything = torch.cat([part.inputs for part in one.parts.values()]).double()
    torch.testing.assert_close(everything.std(), torch.ones_like(everything.std()), atol=1e-4, rtol=0)


def test_without_its_package_mnist1d_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    _make.cache_clear()
    with pytest.raises(
        RequestError, match=r'data=mnist1d: needs the package mnist1d .*pip install "bptrain\[mnist1d\]"'
    ):
        MNIST1D().load(0)
