"""Precision: autocast and half precision are judged by their own rounding, which hides no systematic error."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bptrain


class ScaledInHalf(torch.autograd.Function):
    """x^2, whose backward is off by a factor in half precision only, as that of a kernel can be."""

    factor = 1.0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        factor = ScaledInHalf.factor if x.dtype in (torch.bfloat16, torch.float32) else 1.0
        return (2 * factor * x.float() * dy.float()).to(x.dtype) if x.dtype == torch.bfloat16 else 2 * factor * x * dy


def network():
    torch.manual_seed(0)
    layers = [nn.Linear(16, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 32), nn.Softmax(-1), nn.Linear(32, 4)]
    return nn.Sequential(*layers)


def test_autocast_is_verified_with_the_digits_that_it_leaves():
    with torch.autocast("cpu", torch.bfloat16):
        report = bptrain.check_gradients(network(), torch.randn(64, 16), torch.randint(4, (64,)), nn.CrossEntropyLoss())
    assert report.verdict == "verified"
    weight = report.parameters["0.weight"]
    assert weight.expected == pytest.approx(-math.log10(2**-8), abs=0.01)
    assert 0.5 < weight.digits < 3.5


def test_a_check_under_autocast_changes_nothing():
    model, x = network(), torch.randn(5, 16)
    with torch.autocast("cpu", torch.bfloat16):
        bptrain.check_gradients(model, x)
        assert model[0](x).dtype == torch.bfloat16
    assert all(p.grad is None for p in model.parameters())


def test_autocast_inside_the_model_is_followed():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                y = self.first(x)
            return self.last(y.float())

    assert bptrain.check_gradients(Mixed(), torch.randn(7, 6)).verdict == "verified"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_model_in_half_precision_is_verified(dtype):
    report = bptrain.check_gradients(network().to(dtype), torch.randn(64, 16, dtype=dtype))
    assert report.verdict == "verified"


def test_dtypes_may_be_mixed():
    half, full = nn.Linear(6, 8).bfloat16(), nn.Linear(8, 3)
    report = bptrain.check_gradients(lambda x: full(half(x.bfloat16()).float()), torch.randn(7, 6))
    assert report.verdict == "verified"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_tenth_of_a_percent_is_seen_where_each_element_is_rounded_by_more(monkeypatch, dtype):
    x = torch.randn(100, 100, dtype=dtype)
    right = bptrain.check_gradients(ScaledInHalf.apply, x)
    assert right.verdict == "verified"
    monkeypatch.setattr(ScaledInHalf, "factor", 1.001)
    report = bptrain.check_gradients(ScaledInHalf.apply, x)
    assert report.verdict == "wrong"
    (call,) = report.culprits
    assert call.gradients["argument 0"].bias == pytest.approx(1e-3, rel=0.2)


class Summed(torch.autograd.Function):
    """The sum over rows, whose backward for the row that was added to all adds up in its dtype, one by one."""

    @staticmethod
    def forward(ctx, x, row):
        ctx.rows = len(x)
        return x + row

    @staticmethod
    def backward(ctx, dy):
        total = torch.zeros_like(dy[0])
        for row in dy:
            total = total + row
        return dy, total


def test_sums_in_the_wrong_type_show_as_an_excess_of_lost_digits():
    x, row = torch.rand(300, 5, dtype=torch.bfloat16), torch.randn(5, dtype=torch.bfloat16)
    report = bptrain.check_gradients(lambda x, row: F.relu(Summed.apply(x, row)).sum(), (x, row))
    slow = next(call for call in report.calls if "Summed" in call.function)
    assert slow.gradients["argument 1"].excess > 1
    assert "digits more than sums in float32" in report.summary() or not report.ok
    honest = bptrain.check_gradients(lambda x, row: F.relu(x + row).sum(), (x, row))
    assert all(g.excess == 0 for call in honest.calls for g in call.gradients.values())


def test_underflow_is_counted():
    x = torch.full((6,), 1e-4, dtype=torch.float16)
    report = bptrain.check_gradients(lambda x: (x * 1e-4 * x * 1e-3).sum(), x)
    assert report.inputs["input"].underflow == 6
    assert "Underflow in input (6 elements)" in report.summary()


def test_digits_are_those_measured_of_those_expected():
    report = bptrain.check_gradients(network(), torch.randn(8, 16))
    assert 5 < report.digits < report.expected == pytest.approx(7.22, abs=0.01)
    assert f"of {report.expected:.1f} digits agree" in report.summary()


def test_a_gradient_that_is_zero_but_for_rounding_is_right_and_is_said_to_be_that():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh())
    report = bptrain.check_gradients(model, torch.randn(7, 3))
    assert report.parameters["0.bias"].vanishes
    assert "zero but for rounding" in str(report)
    assert report.digits > 5
