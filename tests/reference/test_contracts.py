"""Contracts: gradients that are by design no derivative are called that; kinks and ties are counted."""

import pytest
import torch
import torch.nn.functional as F

import bptrain
from bptrain.reference.rule import all_rules, bind, conventions
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
    "embedding_bag, max_norm": (lambda w: F.embedding_bag(INDEX, w * 1.0, max_norm=0.5), (4, 3), "max_norm"),
    "embedding_bag, scale_grad_by_freq": (
        lambda w: F.embedding_bag(torch.tensor([[0, 2], [2, 0]]), w, scale_grad_by_freq=True),
        (4, 3),
        "how often",
    ),
    "torch.embedding": (lambda w: torch.embedding(w, INDEX, 2), (4, 3), "padding"),
    "straight through": (lambda x: F.gumbel_softmax(x, hard=True), (4, 3), "straight through"),
    "cosine below eps": (lambda x: F.cosine_similarity(x, torch.ones(3, dtype=x.dtype), eps=9.0), (4, 3), "eps"),
    "saturated probability": (
        lambda x: F.binary_cross_entropy((x * 1e4).clamp(0, 1), torch.ones_like(x)),
        (4,),
        "1e-12",
    ),
    "fake quantization": (lambda x: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -8, 7), (4, 3), "identity"),
}
DERIVATIVES = {
    "embedding": (lambda w: F.embedding(INDEX, w), (4, 3)),
    "padding that is not picked": (lambda w: F.embedding(INDEX, w, padding_idx=4), (5, 3)),
    "unpool": (lambda x: F.max_unpool1d(x, UNIQUE, 2), (1, 1, 3)),
    "variance": (lambda v: F.gaussian_nll_loss(torch.ones(4), torch.zeros(4), v * v + 0.1), (4,)),
    "number for a variance": (lambda x: F.gaussian_nll_loss(x, torch.zeros(4), 0.1, eps=9.0), (4,)),
    "rows picked once": (lambda w: F.embedding(torch.tensor([0, 2]), w, scale_grad_by_freq=True), (4, 3)),
    "rows no longer than max_norm": (lambda w: F.embedding(INDEX, w * 0.1, max_norm=9.0), (4, 3)),
    "padding in a bag": (lambda w: F.embedding_bag(INDEX, w, padding_idx=2), (4, 3)),
    "soft gumbel": (lambda x: F.gumbel_softmax(x), (4, 3)),
    "cosine": (lambda x: F.cosine_similarity(x, torch.ones(3)), (4, 3)),
    "probability": (lambda x: F.binary_cross_entropy(x.sigmoid(), torch.ones_like(x)), (4,)),
    "beyond the range of a quantization": (
        lambda x: torch.fake_quantize_per_tensor_affine(9 + x * x, 0.1, 0, -8, 7),
        (4,),
    ),
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


def test_a_sample_call_that_differences_confirm_has_no_contract_and_no_kinks():
    torch.manual_seed(0)
    wrong = []
    for rule in all_rules():
        for case in rule.cases():
            contract, kinks = conventions(rule, bind(rule, case.args, case.kwargs))
            if case.smooth and (contract or kinks):
                wrong.append((rule.__name__, case.label, contract, kinks))
    assert not wrong


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
)
def test_elements_on_a_kink_are_counted_and_compared_by_convention(function, count):
    report = bptrain.check_gradients(function, torch.tensor([0.0, -1.5, 1.0, 0.0]))
    assert report.ok
    assert report.kinks == count
    assert ("kink" in report.summary()) == (count > 0)
