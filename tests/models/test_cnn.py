"""The convolutional network: shapes, what it computes, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bptrain.errors import RequestError
from bptrain.models.activation import GLU, ReLU, Sigmoid
from bptrain.models.cnn import CNN


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("shape", [(2, 13), (1, 8, 8), (3, 9, 14)])
@pytest.mark.parametrize(
    "model",
    [
        CNN(),
        CNN((4, 6), kernel=(3, 2), stride=(2, 1), padding=(1, 0), pool=(2, 1)),
        CNN((5,), kernel=4, padding=0, pooling="avg", pool=3, norm="batch"),
        CNN((4, 6), padding=("same", 2), pooling="none", norm="layer", dropout=0.5),
        CNN((4, 6), norm="group", groups=2, head="average", sizes=(7, 5)),
        CNN((4, 8), norm="group", groups=4, activation=GLU()),
        CNN(()),
    ],
)
def test_signals_and_images_give_one_output_row_each(model, shape):
    module = model.build(shape, 3)
    assert module(torch.randn(4, *shape)).shape == (4, 3)


def test_forward_is_convolution_activation_pooling_and_head():
    model = CNN((4, 5), kernel=(3, 2), stride=(1, 2), padding=(1, 0), pool=(2, 1), activation=Sigmoid()).build(
        (2, 9), 3
    )
    x = torch.randn(6, 2, 9)
    first, second = model.layers
    h = F.max_pool1d(torch.sigmoid(F.conv1d(x, first.conv.weight, first.conv.bias, padding=1)), 2)
    h = torch.sigmoid(F.conv1d(h, second.conv.weight, second.conv.bias, stride=2))
    torch.testing.assert_close(model(x), h.flatten(1) @ model.head.weight.T + model.head.bias)


def test_average_head_takes_the_mean_of_each_channel():
    model = CNN((4,), head="average").build((2, 6, 5), 3)
    x = torch.randn(2, 2, 6, 5)
    torch.testing.assert_close(model(x), model.head(model.layers(x).mean((2, 3))))


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_same_padding_keeps_the_places_and_a_stride_divides_them(kernel):
    keep = CNN((4,), kernel=kernel, pooling="none").build((2, 9), 3)
    assert keep.layers(torch.randn(1, 2, 9)).shape == (1, 4, 9)
    halve = CNN((4,), kernel=kernel, stride=2, pooling="none").build((2, 9), 3)
    assert halve.layers(torch.randn(1, 2, 9)).shape == (1, 4, 5)


def test_layer_norm_is_over_channels_and_places_of_one_example():
    model = CNN((4,), norm="layer").build((2, 9), 3)
    h = model.layers[0].conv(torch.randn(3, 2, 9))
    torch.testing.assert_close(model.layers[0].norm(h), F.layer_norm(h, h.shape[1:]))


def test_modules_of_a_layer_are_named_and_in_order():
    model = CNN((4,), norm="batch", dropout=0.5).build((2, 9), 3)
    assert [name for name, _ in model.layers[0].named_children()] == ["conv", "norm", "activation", "pool", "dropout"]
    assert model.layers[0].conv.bias is None
    assert isinstance(model.layers[0].norm, nn.BatchNorm1d)


def test_mnist1d_network_has_the_size_it_was_published_with():
    model = CNN((25, 25, 25), kernel=(5, 3, 3), stride=2, padding=1, pooling="none", activation=ReLU()).build(
        (1, 40), 10
    )
    assert count(model) == 5210
    assert model.head.in_features == 125


REFUSED = [
    (lambda: CNN().build((4,), 2), "model: signals images (4,) model=mlp"),
    (
        lambda: CNN((8, 16, 16), padding=0, pooling="none", kernel=(3, 2, 3)).build((1, 4, 4), 2),
        "model.channels[2]: conv 3 (16, 1, 1) kernel of 3 padding 0 fewer",
    ),
    (lambda: CNN((8, 16, 32, 64)).build((1, 8, 8), 2), "model.channels[3]: pooling 4 (64, 1, 1) window of 2"),
    (lambda: CNN((8, 16), kernel=(3,)), "model.kernel: 1 entries 2 model.channels"),
    (lambda: CNN((8, 16), kernel=(3, 3, 3), pool=(2,)), "model.kernel: 3 entries model.pool: 1"),
    (lambda: CNN((8, 16), kernel=(3, 4)), "model.padding: same odd conv 2 is 4"),
    (lambda: CNN((8, 12), norm="group").build((1, 8), 2), "model.groups: 8 12 channels conv 2"),
]


@pytest.mark.parametrize(("build", "words"), REFUSED)
def test_what_does_not_fit_is_refused_and_the_layer_named(build, words):
    with pytest.raises(RequestError) as error:
        build()
    message = str(error.value)
    assert all(word in message for word in words.split()), message
