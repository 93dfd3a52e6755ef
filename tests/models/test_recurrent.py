"""Recurrent networks: what they read as a step, and which states reach the head."""

import pytest
import torch

from bptrain.errors import RequestError
from bptrain.models.recurrent import GRU, LSTM, RNN

KINDS = [RNN, GRU, LSTM]


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 7), (3, 5, 4)])
@pytest.mark.parametrize("output", ["last", "every"])
@pytest.mark.parametrize(("layers", "bidirectional", "dropout"), [(1, False, 0.0), (3, True, 0.5)])
def test_signals_and_images_give_one_output_row_each(kind, shape, output, layers, bidirectional, dropout):
    model = kind(6, layers=layers, bidirectional=bidirectional, dropout=dropout, output=output).build(shape, 3)
    assert model(torch.randn(4, *shape)).shape == (4, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_is_read_along_its_length(kind):
    model = kind(6).build((2, 7), 3)
    x = torch.randn(4, 2, 7)
    steps = torch.stack([x[:, :, t] for t in range(7)], 1)  # (B, T, C)
    torch.testing.assert_close(model(x), model.head(model.layers(steps)[0][:, -1]))


def test_an_image_is_read_row_by_row_with_all_its_channels():
    model = GRU(6).build((3, 5, 4), 2)
    x = torch.randn(4, 3, 5, 4)
    steps = torch.stack([torch.cat([x[:, c, row] for c in range(3)], 1) for row in range(5)], 1)  # (B, H, C * W)
    torch.testing.assert_close(model(x), model.head(model.layers(steps)[0][:, -1]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_state_of_the_reverse_direction_is_at_the_first_step(kind):
    model = kind(6, layers=2, bidirectional=True).build((2, 7), 3)
    x = torch.randn(4, 2, 7)
    states = model.layers(x.transpose(1, 2))[0]
    torch.testing.assert_close(model(x), model.head(torch.cat([states[:, -1, :6], states[:, 0, 6:]], 1)))


def test_every_step_reaches_the_head():
    model = LSTM(3, output="every").build((2, 5), 2)
    x = torch.randn(4, 2, 5)
    states = model.layers(x.transpose(1, 2))[0]
    torch.testing.assert_close(model(x), model.head(torch.cat([states[:, t] for t in range(5)], 1)))


def test_a_simple_network_is_the_formula():
    for nonlinearity, function in (("tanh", torch.tanh), ("relu", torch.relu)):
        model = RNN(3, nonlinearity=nonlinearity).build((2, 5), 2)
        x, h = torch.randn(4, 2, 5), torch.zeros(4, 3)
        w, u, b, c = model.layers.parameters()
        for t in range(5):
            h = function(x[:, :, t] @ w.T + b + h @ u.T + c)
        torch.testing.assert_close(model(x), model.head(h))


def test_mnist1d_network_has_the_size_it_was_published_with():
    assert count(GRU(6, bidirectional=True, output="every").build((1, 40), 10)) == 5134


REFUSED = [
    (lambda: LSTM().build((5,), 2), "model: lstm signals images (5,) model=mlp"),
    (lambda: GRU(dropout=0.5), "model.dropout: between layers model.layers=2"),
]


@pytest.mark.parametrize(("build", "words"), REFUSED)
def test_what_does_not_fit_is_refused(build, words):
    with pytest.raises(RequestError) as error:
        build()
    assert all(word in str(error.value) for word in words.split())
