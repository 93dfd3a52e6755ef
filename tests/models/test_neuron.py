"""A single neuron with a threshold."""

import pytest
import torch

import bptrain
from bptrain.errors import RequestError
from bptrain.models.neuron import Neuron


def test_it_is_a_weighted_sum():
    network = Neuron().build((2, 3), 1)
    x = torch.randn(4, 2, 3)
    w, b = network.head.weight[0], network.head.bias
    torch.testing.assert_close(network(x), ((x.flatten(1) * w).sum(1) + b)[:, None])


def test_a_hard_step_answers_one_or_the_other_and_learns_by_the_slope_of_the_sigmoid():
    torch.manual_seed(0)
    network = Neuron("hard").build((3,), 1).double()
    x, dy = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 1, dtype=torch.float64)
    y = network(x)
    assert set(y.flatten().tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(y > 0, x @ network.head.weight.T + network.head.bias > 0)
    y.backward(dy)
    s = torch.sigmoid(x @ network.head.weight.T + network.head.bias)
    torch.testing.assert_close(network.head.weight.grad, (2 * dy * s * (1 - s)).T @ x)


def test_the_step_is_a_contract_in_the_eyes_of_the_check():
    x = torch.randn(5, 3)
    assert bptrain.check_gradients(Neuron("soft").build((3,), 1), x).verdict == "verified"
    report = bptrain.check_gradients(Neuron("hard").build((3,), 1), x)
    assert report.ok
    assert report.verdict == "contract"


def test_more_than_one_answer_is_refused():
    with pytest.raises(RequestError, match="loss=bce"):
        Neuron().build((3,), 2)
