"""Residual networks over rows, signals and images."""

import pytest
import torch

import bptrain
from bptrain.models.activation import GLU, Tanh
from bptrain.models.residual import Residual


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize(("shape", "size"), [((5,), 5), ((2, 9), 9), ((1, 7, 6), 7)])
def test_it_reads_rows_signals_and_images_and_is_verified(shape, size, norm):
    torch.manual_seed(0)
    network = Residual((4, 6), 1, norm=norm, activation=Tanh(), dropout=0.2).build(shape, 3)
    x = torch.randn(5, *shape)
    assert network(x).shape == (5, 3)
    assert bptrain.check_gradients(network, x).verdict == "verified"


def test_a_block_adds_its_input_to_what_it_makes_of_it():
    network = Residual((4,), 2, norm="none").build((3,), 2)
    stem, first, *_ = network.layers
    h = stem(torch.randn(5, 3))
    inner, outer = first.body[1], first.body[3]
    torch.testing.assert_close(first(h), h + outer(torch.relu(inner(torch.relu(h)))))


def test_each_stage_after_the_first_halves_the_places():
    network = Residual((4, 6, 8), 1).build((1, 16), 2)
    x, seen = torch.zeros(2, 1, 16), []
    for layer in network.layers:
        x = layer(x)
        seen.append(tuple(x.shape[1:]))
    assert seen[:4] == [(4, 16), (4, 16), (6, 8), (8, 4)]


def test_an_activation_that_takes_two_values_for_one_is_given_two():
    network = Residual((4,), 1, norm="batch", activation=GLU()).build((3,), 2)
    assert network(torch.randn(6, 3)).shape == (6, 2)
