"""TF32: its products are verified, and not what is off by more. On a CPU they are made as a GPU would."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import bptrain
from bptrain.check import tf32
from bptrain.check.verdict import VERIFIED, WRONG
from bptrain.reference.rule import rule_for

aten = torch.ops.aten
PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.convolution, aten.convolution_backward}


class Tf32(TorchDispatchMode):
    """Inside, products of float32 see 10 bits of the mantissa of their factors."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor  # of gradients by convolution_backward, for a kernel that is wrong

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket not in PRODUCTS:
            return function(*args, **(kwargs or {}))
        made = function(*map(self.cut, args), **(kwargs or {}))
        if function.overloadpacket is aten.convolution_backward:
            made = tuple(g if g is None or g.dtype is torch.float64 else g * self.factor for g in made)
        return made

    @staticmethod
    def cut(x):
        if not isinstance(x, torch.Tensor) or x.dtype is not torch.float32:
            return x
        return (x.contiguous().view(torch.int32) & -(2**13)).view(torch.float32)


@pytest.fixture
def on_a_gpu(monkeypatch):
    """As if CPUs had TF32, and torch were set to it."""
    settings = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [told.fp32_precision for told in settings]
    monkeypatch.setattr(tf32, "DEVICES", ("cpu",))
    for told in settings:
        told.fp32_precision = "tf32"
    yield
    for told, word in zip(settings, before, strict=True):
        told.fp32_precision = word


def report(factor=1.0, seed=0):
    torch.manual_seed(seed)
    convolutions = [nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 7, 3, padding=1), nn.Tanh(), nn.Flatten()]
    model = nn.Sequential(*convolutions, nn.Linear(7 * 7 * 5, 31), nn.Sigmoid(), nn.Linear(31, 3))
    with Tf32(factor):
        return bptrain.check_gradients(model, torch.randn(17, 2, 9, 7), torch.randint(3, (17,)), nn.CrossEntropyLoss())


@pytest.mark.parametrize("seed", range(3))
def test_products_in_tf32_are_verified(on_a_gpu, seed):
    assert report(seed=seed).verdict == VERIFIED


def test_what_cutting_off_makes_of_all_elements_alike_is_verified(on_a_gpu):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 200), nn.Sigmoid(), nn.Linear(200, 150))
    with Tf32():
        assert bptrain.check_gradients(model, torch.rand(17, 40), torch.rand(17, 150), nn.MSELoss()).verdict == VERIFIED


def test_without_the_word_for_it_they_are_wrong():
    assert report().verdict == WRONG


@pytest.mark.parametrize("factor", [1.01, 0.99])
def test_a_hundredth_is_not_the_rounding_of_tf32(on_a_gpu, factor):
    assert {call.function for call in report(factor).culprits} == {"torch.nn.functional.conv2d"}


def test_the_rules_that_multiply_are_those_of_known_modules():
    found = {rule_for(f).__module__.rpartition(".")[2] for f in (torch.conv2d, torch.matmul, torch.einsum, torch.gru)}
    assert found <= tf32.MULTIPLYING.keys()
    assert rule_for(torch.relu).__module__.rpartition(".")[2] not in tf32.MULTIPLYING
