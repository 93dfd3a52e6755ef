"""Gradients over parts of a batch against that over all of it, and those of a weight that is used twice."""

import copy

import pytest
import torch
import torch.nn.functional as F

import bptrain
from bptrain.reference.accumulation import accumulate

SIZES = (3, 1, 7)


def gradients(model, x, y):
    return torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))


@pytest.fixture
def setup():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
    return model, torch.randn(sum(SIZES), 5, dtype=torch.float64), torch.randint(3, (sum(SIZES),))


def test_accumulated_gradients_are_those_of_the_union(setup):
    model, x, y = setup
    parts = [gradients(model, a, b) for a, b in zip(x.split(SIZES), y.split(SIZES), strict=True)]
    for ours, theirs in zip(accumulate(parts, SIZES), gradients(model, x, y), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_backward_on_shares_of_the_loss_accumulates(setup):
    model, x, y = setup
    parts = []
    for a, b in zip(x.split(SIZES), y.split(SIZES), strict=True):
        parts.append(gradients(model, a, b))
        (F.cross_entropy(model(a), b) * len(b) / len(x)).backward()
    for ours, parameter in zip(accumulate(parts, SIZES), model.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-12, atol=1e-15)


def test_batches_of_unequal_sizes_do_not_count_alike(setup):
    model, x, y = setup
    parts = [gradients(model, a, b) for a, b in zip(x.split(SIZES), y.split(SIZES), strict=True)]
    alike, right = accumulate(parts, [1, 1, 1]), gradients(model, x, y)
    assert not torch.allclose(alike[0], right[0], rtol=1e-3)


class Tied(torch.nn.Module):
    """A weight that encodes and, transposed, decodes."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = torch.nn.Linear(5, 3, bias=False), torch.nn.Linear(3, 5, bias=False)
        self.decoder.weight = torch.nn.Parameter(self.encoder.weight.detach().t().clone())

    def forward(self, x):
        return self.decoder(torch.tanh(self.encoder(x)))


class Sharing(Tied):
    def forward(self, x):
        return F.linear(torch.tanh(self.encoder(x)), self.encoder.weight.t())


def test_the_gradient_of_a_shared_weight_is_the_sum_of_its_uses():
    torch.manual_seed(0)
    x, apart = torch.randn(4, 5, dtype=torch.float64), Tied().double()
    shared = Sharing().double()
    shared.load_state_dict(copy.deepcopy(apart.state_dict()))
    F.mse_loss(apart(x), x).backward()
    F.mse_loss(shared(x), x).backward()
    torch.testing.assert_close(shared.encoder.weight.grad, apart.encoder.weight.grad + apart.decoder.weight.grad.t())
    assert bptrain.check_gradients(shared, x, x, F.mse_loss).parameters["encoder.weight"].verdict == "verified"
