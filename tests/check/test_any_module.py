"""Modules that nobody prepared: right ones are not accused, and what can't be followed is said, not passed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bptrain
from bptrain.errors import RequestError
from bptrain.reference import rule
from bptrain.reference.rule import rule_for


class Net(nn.Module):
    """A linear layer, `body`, and a linear head."""

    def __init__(self, body):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head, self.body = nn.Linear(3, 4), nn.Linear(4, 2), body

    def forward(self, x):
        return self.head(self.body(self.first(x)))


def assign(h):
    h = h * 1
    h[:, 0] = 0
    h[h < -0.5] = 0.25
    return h


def collect(h):
    out = torch.zeros(h.shape[0], 4, dtype=h.dtype)
    for t in range(4):
        out[:, t] = torch.tanh(h[:, t]) + (out[:, t - 1].clone() if t else 0)
    return out


class TwoOutputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin(), x.cos()

    @staticmethod
    def backward(ctx, da, db):
        (x,) = ctx.saved_tensors
        return da * x.cos() - db * x.sin()


class InNumpy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(np.sin(x.detach().numpy()))

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return dy * x.cos()


def both(h):
    a, b = TwoOutputs.apply(h)
    return a * b + b


def running(h):
    mean = torch.zeros(4, dtype=h.dtype)
    h = F.batch_norm(h, mean, torch.ones(4, dtype=h.dtype), training=True)
    return h + mean


def view_of(h):
    h = h.clone()
    h[:, 0].mul_(2)
    return h


def detached_view_of(h):
    h = h.clone()
    h.detach()[:, 0].mul_(2)
    return h


def base_of(h):
    h = h.clone()
    column = h[:, 0]
    h.mul_(2)
    return h + column[:, None]


def overlapping(h):
    h = h.clone()
    above, below = h[:3], h[1:]
    above.mul_(2)
    below[1:].sin_()
    above += below[:3].clone()
    return h + above.sum() + below.sum()


def column_by_column(h):
    y = torch.empty(5, 4, dtype=h.dtype)
    for i in range(4):
        y[:, i].copy_(h[:, 3 - i])
    y[:, 1:] *= h[:, :1]
    y.t()[2:].view(2, 5)[0].zero_()
    return y


VERIFIED = {
    "places assigned": assign,
    "steps collected in a buffer": collect,
    "two outputs of a Function": both,
    "a buffer read after the kernel wrote it": running,
    "in place": lambda h: F.relu(h * 1, True) + torch.relu_(h * 1),
    "cast down and up": lambda h: h.to(torch.float32).float().to(h.dtype) * 2,
    "an initial state made here": lambda h: h + torch.zeros(4),
    "a view written through": view_of,
    "a view read after its base was written": base_of,
    "views that overlap": overlapping,
    "a buffer filled through views": column_by_column,
    "a flat view overwritten": lambda h: torch.relu_((h * 1).flatten(1)),
    "an index without gradient": lambda h: h * F.one_hot(h.argmax(1), 4),
    "one tensor for two arguments": lambda h: h * h,
    "non-contiguous": lambda h: h.t().contiguous().t(),
    "a checkpoint": lambda h: torch.utils.checkpoint.checkpoint(torch.tanh, h, use_reentrant=False),
    "a reentrant checkpoint": lambda h: torch.utils.checkpoint.checkpoint(torch.tanh, h, use_reentrant=True),
    "whole quotients": lambda h: h + torch.div(torch.ones(4), 0.1, rounding_mode="floor"),
}


@pytest.mark.parametrize("body", VERIFIED.values(), ids=VERIFIED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_right_module_is_verified(body, dtype):
    report = bptrain.check_gradients(Net(body).to(dtype), torch.randn(5, 3, dtype=dtype))
    assert report.verdict == "verified", report


UNVERIFIED = {
    "a Function in NumPy": InNumpy.apply,
    "a detached view written through": detached_view_of,
    "a detach on the way": lambda h: h.detach(),
    "no_grad on the way": torch.no_grad()(lambda h: h * 2),
}


@pytest.mark.parametrize("body", UNVERIFIED.values(), ids=UNVERIFIED)
def test_what_the_reference_can_not_follow_is_unverified_and_neither_right_nor_wrong(body):
    report = bptrain.check_gradients(Net(body), torch.randn(5, 3))
    assert report.verdict == "unverified", report
    assert report.ok
    assert report.parameters["head.weight"].verdict == "verified"
    assert report.parameters["first.weight"].verdict == "unverified"
    assert report.coverage["parameters"] == 0.5
    strict = bptrain.check_gradients(Net(body), torch.randn(5, 3), strict=True)
    assert not strict.ok


def test_a_wrong_backward_of_two_outputs_is_named(monkeypatch):
    monkeypatch.setattr(TwoOutputs, "backward", staticmethod(lambda ctx, da, db: da * ctx.saved_tensors[0].cos()))
    report = bptrain.check_gradients(Net(both), torch.randn(5, 3))
    assert ["TwoOutputs" in call.function for call in report.culprits] == [True]


def test_a_call_without_a_rule_inside_a_function_is_not_called_verified(monkeypatch):
    assert rule_for(torch.special.i0) is not None
    monkeypatch.delitem(rule._REGISTRY, torch.special.i0)

    class Bessel(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.special.i0(x)

        @staticmethod
        def backward(ctx, dy):
            return dy * torch.special.i1(ctx.saved_tensors[0])

    report = bptrain.check_gradients(Net(Bessel.apply), torch.randn(5, 3))
    assert report.verdict == "numerical", report
    assert report.ok


def test_a_callable_that_is_no_module_is_checked_in_float64_too():
    net, weight = Net(torch.tanh), torch.tensor([1.0, 3.0])
    report = bptrain.check_gradients(
        lambda x: net(x), torch.randn(5, 3), torch.randint(2, (5,)), lambda o, y: F.cross_entropy(o, y, weight=weight)
    )
    assert report.verdict == "verified", report
    assert list(report.inputs) == ["input"]
    assert net.first.weight.grad is None


def test_an_output_given_twice_counts_twice():
    net = Net(torch.tanh)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            y = self.net(x)
            return {"a": y, "b": [y, y.argmax(1)]}

    assert bptrain.check_gradients(Twice(), torch.randn(5, 3)).verdict == "verified"


def test_a_rule_whose_forward_is_wrong_is_found(monkeypatch):
    from bptrain.reference.rules.sigmoid import Tanh

    right = Tanh.forward
    monkeypatch.setattr(Tanh, "forward", staticmethod(lambda input: (right(input)[0] + 0.01, right(input)[1])))
    report = bptrain.check_gradients(Net(torch.tanh), torch.randn(5, 3))
    assert not report.ok
    assert "output" in report.broken


def test_a_loss_that_cancels_is_rounding():
    report = bptrain.check_gradients(
        Net(torch.tanh).double(), torch.randn(5, 3).double(), loss=lambda o, _: ((o - o.mean()) * 1.3).sum()
    )
    assert report.ok, report


@pytest.mark.parametrize("body", [lambda h: (h * 0).sqrt(), lambda h: h * float("inf"), lambda h: h * float("nan")])
def test_what_overflows_on_both_sides_is_not_wrong(body):
    report = bptrain.check_gradients(Net(body), torch.randn(5, 3))
    assert report.ok, report
    assert report.verdict == "unverified"


def test_nothing_to_check_is_said():
    with pytest.raises(RequestError, match="no output with a gradient"):
        bptrain.check_gradients(lambda x: x.argmax(), torch.randn(3))
    model = Net(torch.tanh)
    model.kept = model(torch.randn(2, 3))
    with pytest.raises(RequestError, match="can't be copied"):
        bptrain.check_gradients(model, torch.randn(5, 3))


def test_a_parameter_that_is_not_used_has_no_gradient_and_that_is_right():
    model = Net(torch.tanh)
    model.spare = nn.Parameter(torch.ones(2))
    assert bptrain.check_gradients(model, torch.randn(5, 3)).parameters["spare"].verdict == "verified"


def test_a_gradient_taken_inside_does_not_break_the_recording():
    def penalty(x):
        y = (x**3).sum()
        (dx,) = torch.autograd.grad(y, x, create_graph=True)
        return dx.sum() + y

    assert bptrain.check_gradients(penalty, torch.randn(4)).verdict == "unverified"


def test_the_line_of_a_call_is_the_one_that_made_it():
    report = bptrain.check_gradients(nn.Sequential(nn.Linear(3, 2)), torch.randn(5, 3))
    assert report.calls[0].source.startswith("torch/nn/modules/linear.py:")
    report = bptrain.check_gradients(Net(torch.tanh), torch.randn(5, 3))
    assert all("test_any_module.py:" in call.source for call in report.calls)


def test_a_shape_as_an_argument_stays_a_shape():
    def body(h):
        return h * torch.distributions.Exponential(torch.ones(h.shape)).rsample().detach() + h.new(h.shape).zero_()

    assert bptrain.check_gradients(Net(body), torch.randn(5, 3)).ok
