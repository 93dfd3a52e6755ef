"""Initialisation of weights."""

import math
from typing import get_args

import pytest
import torch
from torch import nn

from bptrain.models.activation import GELU, LeakyReLU, PReLU, ReLU, Tanh
from bptrain.models.cnn import CNN
from bptrain.models.init import Init, gain, initialise
from bptrain.models.mlp import MLP
from bptrain.models.recurrent import GRU

INITS = [init for init in get_args(Init) if init != "default"]


def drawn(init, layer, gain=1.0):
    torch.manual_seed(0)
    initialise(layer, init, gain)
    return layer.weight.detach()


@pytest.mark.parametrize(
    ("init", "bound"), [("xavier_uniform", math.sqrt(6 / (90 + 40))), ("kaiming_uniform", math.sqrt(3 / 90))]
)
def test_uniform_weights_fill_the_interval(init, bound):
    weight = drawn(init, nn.Linear(90, 40), gain=1.5)
    assert 0.99 * 1.5 * bound < weight.abs().max() <= 1.5 * bound


@pytest.mark.parametrize(
    ("init", "std"), [("xavier_normal", math.sqrt(2 / (90 + 40))), ("kaiming_normal", math.sqrt(1 / 90))]
)
def test_normal_weights_have_the_deviation(init, std):
    weight = drawn(init, nn.Linear(90, 40), gain=1.5)
    assert weight.std().item() == pytest.approx(1.5 * std, rel=0.05)
    assert weight.abs().max() > 3 * 1.5 * std


def test_the_fan_in_of_a_convolution_is_its_window():
    weight = drawn("kaiming_uniform", nn.Conv2d(10, 40, 3))
    bound = math.sqrt(3 / (10 * 9))
    assert 0.99 * bound < weight.abs().max() <= bound


def test_orthogonal_rows_have_the_length_of_the_gain():
    weight = drawn("orthogonal", nn.Linear(7, 5), gain=1.5)
    torch.testing.assert_close(weight @ weight.T, 2.25 * torch.eye(5))


def test_truncated_normal_weights_are_small_whatever_the_gain():
    weight = drawn("trunc_normal", nn.Linear(90, 40), gain=9.0)
    assert weight.abs().max() <= 0.04
    assert weight.std().item() == pytest.approx(0.0176, rel=0.05)  # 0.02 less what the cut at 2 deviations takes


def test_gain_is_what_torch_recommends():
    assert gain(ReLU()) == pytest.approx(math.sqrt(2))
    assert gain(Tanh()) == pytest.approx(5 / 3)
    assert gain(LeakyReLU(0.5)) == pytest.approx(math.sqrt(2 / 1.25))
    assert gain(GELU()) == 1


def test_hidden_layers_have_the_gain_of_their_activation_and_the_head_has_none():
    mlp = MLP((7, 5), activation=ReLU(), init="orthogonal").build((9,), 3)
    for layer, square in ((mlp.layers[0].linear, 2), (mlp.layers[1].linear, 2), (mlp.head, 1)):
        torch.testing.assert_close(layer.weight @ layer.weight.T, square * torch.eye(len(layer.weight)))
    cnn = CNN((5,), activation=ReLU(), init="orthogonal", sizes=(7,)).build((3, 8), 3)
    for layer, square in ((cnn.layers[0].conv, 2), (cnn.hidden[0].linear, 2), (cnn.head, 1)):
        weight = layer.weight.flatten(1)
        torch.testing.assert_close(weight @ weight.T, square * torch.eye(len(weight)))


def test_the_matrix_of_each_gate_is_drawn_by_itself():
    gru = GRU(4, layers=2, bidirectional=True, init="orthogonal").build((6, 5), 3)
    for name, weight in gru.layers.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.chunk(3):
                torch.testing.assert_close(gate @ gate.T, torch.eye(4))


@pytest.mark.parametrize("init", INITS)
def test_biases_are_zero_and_norms_and_slopes_stay(init):
    model = MLP((6, 5), activation=PReLU(), norm="layer", init=init).build((4,), 3)
    parameters = dict(model.named_parameters())
    assert not any(p.any() for name, p in parameters.items() if name.endswith("bias"))
    assert all((p == 1).all() for name, p in parameters.items() if name.endswith("norm.weight"))
    assert all((p == 0.25).all() for name, p in parameters.items() if name.endswith("activation.weight"))


def test_default_is_what_torch_draws():
    torch.manual_seed(3)
    ours = MLP((5,), init="default").build((4,), 2)
    torch.manual_seed(3)
    theirs = [nn.Linear(4, 5), nn.Linear(5, 2)]
    assert torch.equal(ours.layers[0].linear.weight, theirs[0].weight)
    assert torch.equal(ours.head.bias, theirs[1].bias)


@pytest.mark.parametrize("init", get_args(Init))
def test_the_seed_decides(init):
    first, second = (torch.manual_seed(seed) and GRU(3, init=init).build((2, 4), 2) for seed in (1, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
