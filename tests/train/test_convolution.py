"""Convolutions that vmap takes apart are torch's own, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import grad, vmap

from bptrain.train.convolution import OneByOne

OPTIONS = [
    {},
    {"stride": 2, "padding": 1},
    {"padding": "same"},
    {"padding": "valid", "dilation": 2},
    {"groups": 2},
    {"stride": (2,), "padding": (1,)},
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("function", "space"), [(F.conv1d, (9,)), (F.conv2d, (9, 7))])
def test_stacked_convolutions_are_those_of_each_alone(function, space, options, bias):
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    members, window = 3, (3,) * len(space)
    x, weight = drawn(members, 5, 4, *space), drawn(members, 6, 4 // options.get("groups", 1), *window)
    biases = drawn(members, 6) if bias else None
    options = {key: value * len(space) if isinstance(value, tuple) else value for key, value in options.items()}

    def loss(x, weight, bias):
        return function(x, weight, bias, **options).sin().sum()

    wanted = (0, 1, 2) if bias else (0, 1)
    alone = [grad(loss, wanted)(x[i], weight[i], None if biases is None else biases[i]) for i in range(members)]
    with OneByOne():
        stacked = vmap(grad(loss, wanted), (0, 0, 0 if bias else None))(x, weight, biases)
    for number, gradient in enumerate(stacked):
        assert torch.equal(gradient, torch.stack([of[number] for of in alone]))


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's own, once in a process
def test_a_window_of_even_size_is_left_to_torch():
    x, weight = torch.randn(2, 3, 5), torch.randn(4, 3, 2)
    with OneByOne():
        assert F.conv1d(x, weight, padding="same").shape == (2, 4, 5)
