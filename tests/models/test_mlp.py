"""The multi-layer perceptron."""

import pytest
import torch

from bptrain.models.activation import Identity, ReLU
from bptrain.models.mlp import MLP


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("shape", [(5,), (2, 7), (3, 4, 5)])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_any_input_is_flattened(shape, norm):
    model = MLP((6, 3), norm=norm, dropout=0.5).build(shape, 2)
    assert model(torch.randn(4, *shape)).shape == (4, 2)


def test_forward_is_the_formula():
    model = MLP((4, 3)).build((5,), 2)
    x = torch.randn(7, 5)
    h = x
    for layer in model.layers:
        h = 1 / (1 + torch.exp(-(h @ layer.linear.weight.T + layer.linear.bias)))
    torch.testing.assert_close(model(x), h @ model.head.weight.T + model.head.bias)


def test_without_sizes_the_model_is_linear():
    model = MLP(()).build((5,), 2)
    assert [name for name, _ in model.named_parameters()] == ["head.weight", "head.bias"]
    assert model(torch.randn(3, 5)).shape == (3, 2)


def test_norm_stands_between_linear_and_activation():
    model = MLP((6,), activation=Identity(), norm="layer", dropout=0.25).build((4,), 2)
    assert [name for name, _ in model.layers[0].named_children()] == ["linear", "norm", "activation", "dropout"]
    assert model.layers[0].dropout.p == 0.25
    model.eval()
    h = model.layers(torch.randn(3, 4))
    torch.testing.assert_close(h.mean(1), torch.zeros(3), atol=1e-5, rtol=0)


def test_batch_norm_has_no_bias_before_it():
    model = MLP((6,), norm="batch").build((4,), 2)
    assert model.layers[0].linear.bias is None
    h = model.layers[0].norm(model.layers[0].linear(torch.randn(9, 4)))
    torch.testing.assert_close(h.mean(0), torch.zeros(6), atol=1e-5, rtol=0)


def test_mnist1d_network_has_the_size_it_was_published_with():
    assert count(MLP((100, 100), activation=ReLU()).build((1, 40), 10)) == 15210
    assert count(MLP(()).build((1, 40), 10)) == 410


def test_parameters_have_readable_names():
    names = [name for name, _ in MLP((6,)).build((4,), 2).named_parameters()]
    assert names == ["layers.0.linear.weight", "layers.0.linear.bias", "head.weight", "head.bias"]
