"""Activations: names, torch's arguments and defaults, and where they fit."""

import dataclasses
import inspect

import pytest
import torch
from torch import nn

from bptrain.config.component import components
from bptrain.config.read import read_component
from bptrain.errors import RequestError
from bptrain.models.activation import GLU, Hardtanh, PReLU, ReLU, RReLU, Softmax, Softmax2d, Threshold
from bptrain.models.cnn import CNN
from bptrain.models.mlp import MLP

ACTIVATIONS = components("model/activation")
NAMES = """
    elu hardshrink hardsigmoid hardtanh hardswish leaky_relu log_sigmoid prelu relu relu6 rrelu selu celu gelu
    sigmoid silu mish softplus softshrink softsign tanh tanhshrink threshold glu softmin softmax softmax2d
    log_softmax identity
""".split()


def test_there_are_the_activations_of_torch():
    assert sorted(ACTIVATIONS) == sorted(NAMES)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"softmax2d"}))
def test_every_activation_works_in_every_feed_forward_network(name):
    activation = ACTIVATIONS[name]()
    for model, shape in ((MLP((5, 3)), (2, 4)), (CNN((4, 3)), (2, 9)), (CNN((4, 3)), (2, 5, 6))):
        module = dataclasses.replace(model, activation=activation).build(shape, 7)
        output = module(torch.randn(3, *shape))
        assert output.shape == (3, 7)
        assert output.isfinite().all()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"glu", "softmin", "softmax", "log_softmax", "threshold"}))
def test_settings_are_the_arguments_and_defaults_of_torch(name):
    activation = ACTIVATIONS[name]()
    parameters = inspect.signature(getattr(nn, type(activation).__name__)).parameters
    left_out = {"inplace", "device", "dtype", "args", "kwargs", "min_value", "max_value"}
    expected = {key: p.default for key, p in parameters.items() if key not in left_out}
    assert dataclasses.asdict(activation) == expected


def test_settings_reach_the_module():
    assert Threshold(0.5, -2.0).build()(torch.tensor([0.4, 0.6])).tolist() == pytest.approx([-2.0, 0.6])
    assert PReLU(init=0.1).build()(torch.tensor([-1.0])).item() == pytest.approx(-0.1)


def test_threshold_is_relu_by_default():
    x = torch.randn(3, 5)
    assert torch.equal(Threshold().build()(x), ReLU().build()(x))


def test_softmax_goes_over_features_and_never_over_the_batch():
    for shape in ((4, 3), (4, 3, 2), (4, 3, 2, 5)):
        torch.testing.assert_close(Softmax().build()(torch.randn(shape)).sum(1), torch.ones(4, *shape[2:]))


def test_the_layer_before_glu_is_twice_as_wide():
    mlp = MLP((5, 3), activation=GLU(), norm="batch").build((4,), 2)
    assert mlp.layers[0].linear.weight.shape == (10, 4)
    assert mlp.layers[1].linear.weight.shape == (6, 5)
    cnn = CNN((5,), activation=GLU(), norm="batch").build((4, 6), 2)
    assert cnn.layers[0].conv.weight.shape == (10, 4, 3)
    x = torch.randn(3, 10, 7)
    torch.testing.assert_close(GLU().build()(x), x[:, :5] * x[:, 5:].sigmoid())


REFUSED = [
    (lambda: MLP((4, 3), activation=PReLU(4)).build((2,), 2), "model.activation.num_parameters width 3"),
    (lambda: MLP((4,), activation=Softmax2d()).build((2,), 2), "model.activation softmax2d (4,) activation=softmax"),
    (lambda: CNN((4,), activation=Softmax2d()).build((2, 8), 2), "model.activation softmax2d (4, 8)"),
    (lambda: MLP((4,), activation=Softmax(dim=2)).build((2,), 2), "model.activation.dim at most 1"),
    (lambda: Hardtanh(1.0, 1.0), "model.activation.max_val above"),
    (lambda: RReLU(0.5, 0.25), "model.activation.upper 0.25"),
]


@pytest.mark.parametrize(("build", "words"), REFUSED)
def test_what_does_not_fit_is_refused(build, words):
    with pytest.raises(RequestError) as error:
        build()
    assert all(word in str(error.value) for word in words.split())


def test_softmax2d_and_one_slope_a_channel_fit_images():
    x = torch.randn(2, 3, 4, 4)
    assert CNN((4,), activation=Softmax2d()).build((3, 4, 4), 2)(x).shape == (2, 2)
    assert CNN((4, 4), activation=PReLU(4)).build((3, 4, 4), 2)(x).shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [("elu", "alpha", 0), ("softplus", "beta", 0), ("leaky_relu", "negative_slope", -1), ("softmax", "dim", 0)],
)
def test_settings_out_of_range_are_refused(name, setting, value):
    problems = []
    read_component("model/activation", {"name": name, setting: value}, "model.activation", problems)
    assert [problem.where for problem in problems] == [f"model.activation.{setting}"]
