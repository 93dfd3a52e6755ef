"""Contracts: gradients that are by design no derivative are called that; kinks and ties are counted."""

import pytest
import torch
import torch.nn.functional as F

import bptrain
from bptrain.reference.rules.embedding import Embedding

INDEX = torch.tensor([[0, 2, 2], [3, 1, 0]])
UNIQUE, TWICE = torch.tensor([[[0, 3, 5]]]), torch.tensor([[[0, 3, 3]]])
CONTRACTS = {
    "padding_idx": (lambda w: F.embedding(INDEX, w, padding_idx=2), (4, 3), "padding"),
    "padding_idx from the end": (lambda w: F.embedding(INDEX, w, padding_idx=-1), (4, 3), "padding"),
    "scale_grad_by_freq": (lambda w: F.embedding(INDEX, w, scale_grad_by_freq=True), (4, 3), "how often"),
    "max_norm": (lambda w: F.embedding(INDEX, w * 1.0, max_norm=0.5), (4, 3), "max_norm"),
    "unpool": (lambda x: F.max_unpool1d(x, TWICE, 2), (1, 1, 3), "of one index"),
    "variance below eps": (lambda v: F.gaussian_nll_loss(torch.ones(4), torch.zeros(4), v * v, eps=9.0), (4,), "eps"),
    "ctc": (
        lambda x: F.ctc_loss(x.log_softmax(-1), torch.tensor([[1, 2]]), (5,), (2,)),
        (5, 1, 3),
        "normalised",
    ),
}
DERIVATIVES = {
    "embedding": (lambda w: F.embedding(INDEX, w), (4, 3)),
    "padding that is not picked": (lambda w: F.embedding(INDEX, w, padding_idx=4), (5, 3)),
    "unpool": (lambda x: F.max_unpool1d(x, UNIQUE, 2), (1, 1, 3)),
    "variance": (lambda v: F.gaussian_nll_loss(torch.ones(4), torch.zeros(4), v * v + 0.1), (4,)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("function, shape, words", CONTRACTS.values(), ids=CONTRACTS)
def test_what_is_no_derivative_by_design_is_a_contract(function, shape, words, dtype):
    torch.manual_seed(0)
    report = bptrain.check_gradients(function, torch.randn(shape, dtype=dtype))
    assert report.verdict == "contract"
    assert report.ok
    (call,) = [call for call in report.calls if call.verdict == "contract"]
    assert words in call.arbiter
    assert report.coverage["calls"] == 1


@pytest.mark.parametrize("function, shape", DERIVATIVES.values(), ids=DERIVATIVES)
def test_without_the_option_it_is_a_derivative(function, shape):
    assert bptrain.check_gradients(function, torch.randn(shape)).verdict == "verified"


def test_a_gradient_that_breaks_its_contract_is_no_contract(monkeypatch):
    right = Embedding.backward
    monkeypatch.setattr(Embedding, "backward", staticmethod(lambda cache, dy: (None, 2 * right(cache, dy)[1])))
    report = bptrain.check_gradients(CONTRACTS["padding_idx"][0], torch.randn(4, 3))
    assert not report.ok


@pytest.mark.parametrize(
    "function, count",
    [
        (F.relu, 2),
        (torch.abs, 2),
        (lambda x: F.leaky_relu(x, 0.1), 2),
        (lambda x: F.threshold(x, 1.0, 0.0), 1),
        (torch.tanh, 0),
        (lambda x: F.max_pool1d(x[None], 2, 1), 0),
        (lambda x: F.max_pool1d(x[None], 4), 0),
        (lambda x: F.max_pool1d(x[None] * 0, 2), 2),
        (lambda x: x.clamp(-1.5, 1.0), 2),
        (lambda x: F.hardtanh(x, -1.0, 1.0), 1),
        (lambda x: torch.maximum(x, x.flip(0)), 2),
        (lambda x: (x * x).amin(), 2),
        (lambda x: F.l1_loss(x, torch.zeros(4)), 2),
    ],
    ids=str,
)
def test_elements_on_a_kink_are_counted_and_compared_by_convention(function, count):
    report = bptrain.check_gradients(function, torch.tensor([0.0, -1.5, 1.0, 0.0]))
    assert report.ok
    assert report.kinks == count
    assert ("kink" in report.summary()) == (count > 0)
