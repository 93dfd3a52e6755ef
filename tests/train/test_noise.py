"""Noise: what is drawn beforehand is to the bit what torch's eager functions draw."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bptrain.models.vae import VAE
from bptrain.train.noise import collected, drawn, given
from bptrain.train.program import Untraceable

KEPT = torch.preserve_format


def twice(function, x):
    """What torch makes of a copy of x, and what comes of draws that were made beforehand; and generators after it."""
    torch.manual_seed(3)
    eager, after = function(x.clone(memory_format=KEPT)), torch.get_rng_state()
    noises = collected(lambda: function(x.clone(memory_format=KEPT)))
    torch.manual_seed(3)
    draws, drew = drawn(noises), torch.get_rng_state()
    with given(draws):
        y = function(x.clone(memory_format=KEPT))
    return eager, y, after, drew


def last(x):
    return x.to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (lambda x: F.dropout(x, 0.3), torch.randn(5, 7)),
        (lambda x: F.dropout(x, 0.3), torch.randn(5, 7).T),
        (lambda x: F.dropout(x, 0.3), torch.randn(5, 14)[:, ::2].T),
        (lambda x: F.dropout(x, 0.3), last(torch.randn(2, 3, 5, 4))),
        (lambda x: F.dropout(x, 0.3), torch.randn(5, 1).expand(5, 4)),
        (lambda x: F.dropout(x, 0.3), torch.randn(5, 7, dtype=torch.float64)),
        (lambda x: F.dropout(x, 0.3), torch.randn(5, 7, dtype=torch.bfloat16)),
        (lambda x: F.dropout(x, 0.3), torch.tensor(2.0)),
        (lambda x: F.dropout(x, 0.3), torch.randn(0, 7)),
        (lambda x: F.dropout(x, 0.0), torch.randn(5, 7)),
        (lambda x: F.dropout(x, 1.0), torch.randn(5, 7)),
        (lambda x: F.dropout(x, 0.3, False), torch.randn(5, 7)),
        (lambda x: F.dropout(x, 0.3, inplace=True) + x, torch.randn(5, 7)),
        (lambda x: F.dropout(F.dropout(x, 0.5).relu(), 0.2), torch.randn(5, 7)),
        (lambda x: torch.dropout(x, 0.3, True), torch.randn(5, 7)),
        (lambda x: torch.dropout(x, p=0.3, train=False), torch.randn(5, 7)),
        (lambda x: torch.dropout_(x, 0.3, train=True) + x, torch.randn(5, 7)),
        (lambda x: F.dropout1d(x, 0.3), torch.randn(3, 5, 4)),
        (lambda x: F.dropout1d(x, 0.3), torch.randn(5, 4)),
        (lambda x: F.dropout2d(x, 0.3), torch.randn(3, 5, 2, 4)),
        (lambda x: F.dropout2d(x, 0.3, inplace=True) + x, last(torch.randn(3, 5, 2, 4))),
        (lambda x: F.dropout3d(x, 0.3), torch.randn(3, 5, 2, 4, 3)),
        (lambda x: F.dropout3d(x, 0.3), torch.randn(5, 2, 4, 3)),
        (nn.Dropout1d(0.4), torch.randn(3, 5, 4)),
        (lambda x: x + torch.randn(7), torch.randn(5, 7)),
        (lambda x: x + torch.randn(x.shape), torch.randn(5, 7)),
        (lambda x: x + torch.randn([5, 7], dtype=torch.float64), torch.randn(5, 7)),
        (lambda x: x * torch.rand(5, 7) + torch.rand(()) + torch.rand(size=(7,)), torch.randn(5, 7)),
        (VAE().build((4,), 4), torch.rand(5, 4)),
    ],
)
def test_draws_are_those_of_torch_to_the_bit(function, x):
    eager, y, after, drew = twice(function, x)
    assert torch.equal(y, eager)
    assert (y.dtype, y.stride()) == (eager.dtype, eager.stride())
    assert torch.equal(after, drew)


@pytest.mark.filterwarnings("ignore:dropout2d")
@pytest.mark.parametrize("shape", [(3, 5, 4), (3, 5, 2, 2, 4)])
def test_whole_channels_are_dropped_as_torch_still_does_for_shapes_it_warns_of(shape):
    eager, y, after, drew = twice(lambda x: F.dropout2d(x, 0.3), torch.randn(shape))
    assert torch.equal(y, eager)
    assert torch.equal(after, drew)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: torch.randn(7, generator=torch.Generator().manual_seed(1)), "randn"),
        (lambda x: torch.randn(7, out=torch.empty(7)), "normal"),
        (lambda x: torch.rand_like(x), "rand_like"),
        (lambda x: F.alpha_dropout(x, 0.3, True), "bernoulli"),
        (nn.LSTM(7, 3, 2, dropout=0.5), "bernoulli"),  # which a trace of it leaves out
    ],
)
def test_what_is_drawn_in_another_way_is_named(function, name):
    with pytest.raises(Untraceable, match=f"random numbers by {name}, "):
        collected(lambda: function(F.dropout(torch.rand(5, 7), 0.5)))


def test_draws_come_from_the_generator_that_is_given():
    noises = collected(lambda: F.dropout(torch.ones(50), 0.5) + torch.randn(50))
    before, draws = torch.get_rng_state(), [drawn(noises, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert all(torch.equal(a, b) and torch.equal(b, c) for a, b, c in zip(*draws, drawn(noises), strict=True))
