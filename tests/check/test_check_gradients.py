"""The check finds planted faults, names them, and leaves everything as it was."""

import json

import pytest
import torch
from torch import nn

import bptrain
from bptrain.errors import GradientsWrong
from bptrain.reference import rule


def small(**kwargs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2), **kwargs)


def planted(factor):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            return factor(2 * x * dy)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 2)

        def forward(self, x):
            return self.last(Square.apply(self.first(x)))

    return Net()


def one_element(gradient):
    gradient = gradient.clone()
    gradient[1, 2] *= 1.01
    return gradient


def test_a_right_network_is_verified_with_the_digits_of_its_dtype():
    report = bptrain.check_gradients(small(), torch.randn(7, 3), torch.randint(2, (7,)), nn.CrossEntropyLoss())
    assert report.ok
    assert report.verdict == "verified"
    assert report.coverage == {"calls": 1.0, "parameters": 1.0}
    assert list(report.parameters) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert list(report.inputs) == ["input"]
    assert 5 < report.digits < 9  # float32
    assert [call.function for call in report.calls if call.path] == [
        "torch.nn.functional.linear",
        "torch.tanh",
        "torch.nn.functional.linear",
    ]
    double = bptrain.check_gradients(small().double(), torch.randn(7, 3).double())
    assert double.digits > 13


@pytest.mark.parametrize(
    "fault",
    [lambda g: g * 1.001, lambda g: -g, lambda g: g * 0, lambda g: g + 1e-3, one_element, lambda g: None],
    ids=["0.1 % too large", "sign", "zero", "offset", "one element", "missing"],
)
def test_a_planted_wrong_backward_is_named_and_only_that(fault):
    report = bptrain.check_gradients(planted(fault), torch.randn(4, 3))
    assert not report.ok
    assert report.verdict == "wrong"
    (culprit,) = report.culprits
    assert "Square" in culprit.function
    assert "test_check_gradients.py:" in culprit.source
    assert all(call.verdict == "verified" for call in report.calls if call is not culprit)
    assert set(report.broken) == {"first.weight", "first.bias", "input"}
    assert "Square" in str(report)
    with pytest.raises(GradientsWrong, match="Square"):
        report.raise_if_wrong()


def test_a_wrong_kernel_is_named(monkeypatch):
    right = torch.sigmoid

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = right(x)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, dy):
            (y,) = ctx.saved_tensors
            return dy * y * (1 - y) * 1.001

    monkeypatch.setattr(nn.Sigmoid, "forward", lambda self, x: Wrong.apply(x))
    report = bptrain.check_gradients(nn.Sequential(nn.Linear(3, 4), nn.Sigmoid()), torch.randn(5, 3))
    assert [call.function.rpartition(".")[2] for call in report.culprits] == ["Wrong"]


def test_a_gradient_that_a_hook_doubles_is_found_end_to_end():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            y = self.layer(x)
            y.register_hook(lambda g: 2 * g)
            return y.tanh()

    report = bptrain.check_gradients(Doubled(), torch.randn(5, 3))
    assert not report.ok
    assert "layer.weight" in report.broken


def test_a_rule_that_is_wrong_is_our_fault(monkeypatch):
    from bptrain.reference.rules.sigmoid import Tanh

    right = Tanh.backward
    monkeypatch.setattr(Tanh, "backward", staticmethod(lambda cache, dy: 1.001 * right(cache, dy)))
    report = bptrain.check_gradients(small(), torch.randn(7, 3))
    (culprit,) = report.culprits
    assert culprit.verdict == "reference-wrong"
    assert "differences agree with autograd" in culprit.arbiter


def test_a_call_without_a_rule_is_held_against_differences(monkeypatch):
    class Bessel(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return torch.special.i0(self.layer(x))

    monkeypatch.delitem(rule._REGISTRY, torch.special.i0)
    report = bptrain.check_gradients(Bessel(), torch.randn(5, 3))
    assert report.ok
    assert {call.function.rpartition(".")[2]: call.verdict for call in report.calls} == {
        "linear": "verified",
        "i0": "numerical",
    }
    assert report.parameters["layer.weight"].verdict == "numerical"


def test_a_shared_weight_is_summed_over_its_uses():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(torch.tanh(self.layer(x)))

    report = bptrain.check_gradients(Twice(), torch.randn(5, 3))
    assert report.verdict == "verified"


def test_a_check_changes_nothing_in_the_model_or_the_generators():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    model[0].weight.grad = torch.ones(4, 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    bptrain.check_gradients(model, torch.randn(6, 3, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(model[0].weight.grad, torch.ones(4, 3))
    assert model[0].bias.grad is None
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks


def test_dropout_is_verified_with_the_mask_it_drew():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 9), nn.Dropout(0.5), nn.Linear(9, 2))
    assert bptrain.check_gradients(model, torch.randn(6, 3)).verdict == "verified"


def test_a_function_without_parameters_has_input_gradients():
    report = bptrain.check_gradients(lambda a, b: (a * b).sum(), (torch.randn(3, 2), torch.randn(2)))
    assert report.ok
    assert list(report.inputs) == ["input[0]", "input[1]"]
    assert not report.parameters


def test_the_certificate_is_plain_json():
    report = bptrain.check_gradients(small(), torch.randn(4, 3))
    certificate = json.loads(json.dumps(report.to_json()))
    assert certificate["verdict"] == "verified"
    assert certificate["calls"][0]["gradients"]["weight"]["verdict"] == "verified"
    weight = certificate["parameters"]["0.weight"]
    assert {"error", "explained", "verdict", "digits", "expected", "fault"} <= set(weight)
    assert str(report).splitlines()[-1].startswith("Gradients verified")


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_rounding_alone_is_never_called_wrong(size):
    """Sums that nearly cancel lose digits, and that is no error."""
    torch.manual_seed(0)
    x = size * torch.randn(64, 3)
    model = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 1, bias=False))
    report = bptrain.check_gradients(model, x - x.mean(0))
    assert report.ok, report


def test_importing_bptrain_loads_no_torch():
    import subprocess
    import sys

    code = "import sys, bptrain; assert 'torch' not in sys.modules and 'hydra' not in sys.modules; bptrain.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "has no attribute 'nothing'" in done.stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "layer", [nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Tanhshrink, nn.Softmax]
)
@pytest.mark.parametrize("shift", [-30.0, -12.0, -5.0, 1e-4, 5.0, 12.0, 30.0])
def test_a_saturated_layer_is_not_called_wrong(dtype, layer, shift):
    """Slopes near zero come out of numbers near one: what is left is rounding, however large beside the slope."""
    torch.manual_seed(0)
    unit = layer(dim=1) if layer is nn.Softmax else layer()
    model = nn.Sequential(nn.Linear(3, 4), unit, nn.Linear(4, 2)).to(dtype)
    with torch.no_grad():
        model[0].weight.mul_(0.1)
        model[0].bias.copy_(torch.tensor([1.0, 1.1, 0.9, 1.05]) * shift)
        if layer is nn.Softmax:
            model[0].bias[1:] = 0
    report = bptrain.check_gradients(
        model, torch.randn(6, 3, dtype=dtype), torch.randint(2, (6,)), nn.CrossEntropyLoss()
    )
    assert report.ok, report


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("margin", [5.0, 14.0, 30.0, 60.0])
def test_a_loss_near_zero_is_not_called_wrong(dtype, margin):
    torch.manual_seed(0)
    targets = torch.randint(3, (6,))
    model = nn.Linear(3, 3, bias=False).to(dtype)
    with torch.no_grad():
        model.weight.copy_(margin * torch.eye(3))
    inputs = nn.functional.one_hot(targets, 3).to(dtype) + 0.01 * torch.randn(6, 3, dtype=dtype)
    report = bptrain.check_gradients(model, inputs, targets, nn.CrossEntropyLoss())
    assert report.ok, report


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e8])
def test_a_norm_of_a_constant_is_not_called_wrong(dtype, scale):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 1), nn.BatchNorm1d(1), nn.Linear(1, 2)).to(dtype)
    x = torch.randn(6, 3, dtype=dtype) * scale
    assert bptrain.check_gradients(model, x).ok
    assert bptrain.check_gradients(model, x[:1].expand(6, 3)).ok


def test_large_columns_into_batch_norm_are_not_called_wrong():
    torch.manual_seed(0)
    x = torch.cat([torch.randn(20, 2), torch.full((20, 1), 123456789.1)], 1)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Sigmoid(), nn.Linear(8, 2))
    report = bptrain.check_gradients(model, x, torch.randint(2, (20,)), nn.CrossEntropyLoss())
    assert report.ok, report


def test_a_fault_behind_a_norm_is_still_found():
    torch.manual_seed(0)

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, dy):
            return dy * 1.001

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm = nn.Linear(3, 5), nn.BatchNorm1d(5)

        def forward(self, x):
            return Scaled.apply(self.norm(self.first(x)))

    report = bptrain.check_gradients(Net(), torch.randn(7, 3))
    assert ["Scaled" in call.function for call in report.culprits] == [True]


def test_an_output_that_is_not_finite_is_said_before_anything_is_judged():
    report = bptrain.check_gradients(nn.Linear(3, 2), torch.full((4, 3), float("inf")))
    assert not report.finite
    assert report.verdict == "unverified"
    assert not report.calls
