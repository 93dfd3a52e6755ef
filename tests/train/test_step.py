"""Steps: a step of a network as a function of tensors, and what is refused since it is no such function."""

import random
from logging import WARNING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from bptrain.train.compiled import Compiled
from bptrain.train.program import Untraceable


class Net(nn.Module):
    """A linear layer, and then `function` of it and the output (B, 3)."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.function = nn.Linear(3, 3), function
        self.teacher = nn.Linear(3, 3).requires_grad_(False)
        self.register_buffer("scale", torch.ones(3))
        self.constant, self.count, self.seen = torch.ones(3), 0, []

    def forward(self, x):
        return self.function(self, self.linear(x))


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, dy):
        return dy * 2


def branches(net, x):
    return x if x.sum() > 0 else -x


def indexes(net, x):
    return x * int(x[0].argmax())


def lists(net, x):
    return x * x[0].tolist()[0]


def asks_numpy(net, x):
    return x * float(x.detach().numpy().sum())


def packs(net, x):
    lengths = (x > 0).sum(1).clamp(min=1)
    return x * nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False).data.sum()


def rolls(net, x):
    return x * random.random()


def rolls_numpy(net, x):
    return x * np.random.rand()


def counts(net, x):
    net.count += 1
    return x if net.count < 100 else -x


def remembers(net, x):
    net.seen.append(x.detach())
    return x


def decays(net, x):
    net.constant.mul_(0.9)
    return x * net.constant


def sets(net, x):
    net.last = x
    return x


def replaces(net, x):
    net.scale = net.scale * 0.9
    return x * net.scale


def follows(net, x):
    """A teacher of exponentially averaged weights."""
    net.teacher.weight.data.mul_(0.9).add_(net.linear.weight.data, alpha=0.1)
    return x + net.teacher(x)


CLOCK = iter(range(1000))


def reads_a_clock(net, x):
    return x * next(CLOCK)


CALLS = iter(range(1000))


def fails_the_second_time(net, x):
    return x * torch.ones(3 if next(CALLS) == 0 else 2)


def attends(net, x):
    return F.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.5)[0]


VALUES = "what it computes depends on values of its inputs (test_step.py:"
REASONS = [
    (branches, VALUES),
    (indexes, VALUES),
    (lists, VALUES),
    (asks_numpy, VALUES),
    (packs, "it packs sequences by their lengths, which are values of its inputs"),
    (rolls, "random numbers of Python or NumPy"),
    (rolls_numpy, "random numbers of Python or NumPy"),
    (counts, "changes the attribute count of Net"),
    (remembers, "changes the attribute seen of Net"),
    (decays, "changes the attribute constant of Net"),
    (sets, "changes the attribute last of Net"),
    (replaces, "replaces the buffer scale"),
    (follows, "changes a tensor that is no buffer"),
    (fails_the_second_time, "(RuntimeError) (test_step.py:"),
    (reads_a_clock, "traced twice it is not the same"),
    (lambda net, x: x * torch.bernoulli(torch.full_like(x, 0.5)), "random numbers by bernoulli"),
    (lambda net, x: F.alpha_dropout(x, 0.3, True), "random numbers by bernoulli"),
    (lambda net, x: F.rrelu(x, training=True), "random numbers by rrelu"),
    (lambda net, x: x + torch.randn_like(x), "random numbers by randn_like"),
    (lambda net, x: x[:, torch.randperm(3)], "random numbers by randperm"),
    (attends, "random numbers by bernoulli"),
    (lambda net, x: Twice.apply(x), "its torch.autograd.Function has no setup_context (test_step.py:"),
]


@pytest.mark.parametrize(("function", "words"), REASONS)
def test_what_a_program_would_not_repeat_is_refused_with_the_reason(rows, eager_of, function, words, caplog):
    net = Net(function)
    with pytest.raises(Untraceable) as caught:
        Compiled(eager_of(net, SGD(net.parameters(), 0.1)), rows)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [record for record in caplog.records if record.levelno >= WARNING]


def test_a_hook_on_a_gradient_is_refused(rows, eager_of):
    net = Net(lambda net, x: x)
    net.linear.weight.register_hook(lambda g: g * 2)
    with pytest.raises(Untraceable, match=r"a hook changes the gradient of linear\.weight"):
        Compiled(eager_of(net, SGD(net.parameters(), 0.1)), rows)


@pytest.mark.parametrize("function", [counts, sets, rolls, rolls_numpy, branches, replaces, follows])
def test_a_network_that_is_refused_trains_as_if_it_had_not_been_tried(rows, eager_of, function):
    results = []
    for tried in (False, True):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        net = Net(function)
        eager = eager_of(net, SGD(net.parameters(), 0.1, momentum=0.9))
        if tried:
            with pytest.raises(Untraceable):
                Compiled(eager, rows)
        eager.step(rows)
        drawn = torch.tensor([net.count, random.random(), np.random.rand()])
        results.append([net.linear.weight, net.teacher.weight, net.scale, drawn])
    assert all(map(torch.equal, *results))


def test_making_a_step_changes_neither_network_nor_generators(rows, eager_of):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    eager = eager_of(net, SGD(net.parameters(), 0.1, momentum=0.9))
    before, generator = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    Compiled(eager, rows)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
