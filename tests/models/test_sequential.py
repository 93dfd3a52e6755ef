"""Stacks of layers spelled in YAML."""

import pytest
import torch
from torch import nn

from bptrain.config.component import components
from bptrain.config.read import read_component
from bptrain.errors import RequestError


def model(layers, **settings):
    problems = []
    found = read_component("model", {"name": "sequential", "layers": layers, **settings}, "model", problems)
    assert not problems, problems
    return found


SHAPES = [
    ([{"name": "linear", "units": 5}, "tanh", {"name": "dropout", "p": 0.3}], (7,)),
    ([{"name": "conv", "channels": 4, "stride": 2}, "batch_norm", "gelu", "max_pool"], (2, 9)),
    ([{"name": "conv", "channels": 4, "dilation": 2}, "layer_norm", {"name": "avg_pool", "window": 3}], (3, 7, 6)),
    ([{"name": "conv", "channels": 6}, {"name": "group_norm", "groups": 3}, "average"], (3, 5, 4)),
    ([{"name": "transposed_conv", "channels": 2, "kernel": 3, "padding": 1}, "flatten"], (3, 4)),
    ([{"name": "recurrent", "kind": "lstm", "hidden": 3, "bidirectional": True}], (2, 6)),
    (
        [{"name": "recurrent", "hidden": 4, "output": "every"}, {"name": "recurrent", "kind": "rnn", "hidden": 3}],
        (2, 6),
    ),
    ([{"name": "skip", "layers": [{"name": "conv", "channels": 6, "stride": 2}, "relu"]}, "glu", "average"], (4, 8)),
    ([], (2, 3)),
]


@pytest.mark.parametrize(("layers", "shape"), SHAPES)
def test_any_stack_ends_in_a_head_and_trains(layers, shape):
    torch.manual_seed(0)
    network = model(layers).build(shape, 3)
    y = network(torch.randn(4, *shape))
    assert y.shape == (4, 3)
    y.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert network.training


def test_a_stack_is_the_composition_of_its_layers():
    network = model([{"name": "linear", "units": 4}, "sigmoid"]).build((3,), 2)
    linear, sigmoid = network.layers
    assert isinstance(sigmoid, nn.Sigmoid)
    x = torch.randn(5, 3)
    torch.testing.assert_close(network(x), network.head(1 / (1 + torch.exp(-linear(x)))))


def test_every_activation_is_a_layer_by_the_same_name_and_with_the_same_settings():
    assert components("model/activation").keys() < components("model/layer").keys()
    network = model([{"name": "leaky_relu", "negative_slope": 0.5}]).build((3,), 2)
    torch.testing.assert_close(network.layers(torch.tensor([[-2.0, 0.0, 2.0]])), torch.tensor([[-1.0, 0.0, 2.0]]))


def test_skip_adds_its_input_through_a_projection_where_the_shape_changes():
    same, other = (model([{"name": "skip", "layers": [{"name": "linear", "units": n}]}]).build((3,), 2) for n in (3, 5))
    x = torch.randn(4, 3)
    torch.testing.assert_close(same.layers(x), same.layers[0].body(x) + x)
    torch.testing.assert_close(other.layers(x), other.layers[0].body(x) + other.layers[0].shortcut(x))


def test_same_padding_keeps_the_places_and_a_stride_divides_them():
    network = model([{"name": "conv", "channels": 2, "kernel": 5}]).build((1, 9), 2)
    assert network.layers(torch.zeros(1, 1, 9)).shape == (1, 2, 9)
    network = model([{"name": "conv", "channels": 2, "kernel": 5, "stride": 3}]).build((1, 9), 2)
    assert network.layers(torch.zeros(1, 1, 9)).shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("layers", "shape", "words"),
    [
        ([{"name": "conv"}], (3,), ["model.layers[0]", "conv", "(3,)", "signals and images"]),
        (["flatten", "max_pool"], (1, 4), ["model.layers[1]", "max_pool", "(4,)"]),
        ([{"name": "conv", "kernel": 9, "padding": "valid"}], (1, 4), ["model.layers[0]", "(1, 4)"]),
        ([{"name": "group_norm", "groups": 2}], (3, 4), ["model.layers[0]", "group_norm"]),
        ([{"name": "recurrent"}], (3, 4, 4), ["model.layers[0]", "it is for signals"]),
        ([{"name": "skip", "layers": ["flatten"]}], (3, 4), ["model.layers[0]", "no projection"]),
        ([{"name": "skip", "layers": ["average"]}], (3, 4), ["model.layers[0]", "no projection"]),
        ([{"name": "prelu", "num_parameters": 3}], (4,), ["model.layers[0]", "must be 1 or the width"]),
    ],
)
def test_a_layer_that_cannot_follow_is_named_with_what_comes_to_it(layers, shape, words):
    with pytest.raises(RequestError) as caught:
        model(layers).build(shape, 2)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (["convolution"], ["model.layers", "no model/layer 'convolution'"]),
        ([{"name": "conv", "chanels": 3}], ["chanels", "Did you mean 'channels'?"]),
        ([{"name": "conv", "channels": 0}], ["channels", "at least 1"]),
        ([{"channels": 3}], ["must name one of these", "conv"]),
        (3, ["model.layers"]),
    ],
)
def test_a_layer_that_there_is_not_is_refused_without_torch(layers, words):
    problems = []
    read_component("model", {"name": "sequential", "layers": layers}, "model", problems)
    assert all(word in " ".join(map(str, problems)) for word in words)
