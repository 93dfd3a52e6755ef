"""Wiring: what happens to a gradient between two calls is found, and named with both."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bptrain


class Two(nn.Module):
    """Two layers; what lies between them is given."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.between = nn.Linear(3, 5), nn.Linear(5, 2), between

    def forward(self, x):
        return self.second(self.between(self.first(x)))


def checked(between, **options):
    return bptrain.check_gradients(Two(between), torch.randn(4, 3), **options)


def hooked(change):
    def between(y):
        z = torch.tanh(y)
        z.register_hook(change)
        return z

    return between


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda g: 2 * g, "scaled by 2"),
        (lambda g: 1.001 * g, "scaled by 1.001"),
        (lambda g: -g, "sign"),
        (lambda g: torch.zeros_like(g), "zero"),
    ],
    ids=["doubled", "a thousandth", "negated", "zeroed"],
)
def test_a_hook_that_changes_a_gradient_is_placed_between_two_calls(change, words):
    report = checked(hooked(change))
    assert report.verdict == "wrong"
    assert not report.culprits
    (link,) = report.wiring
    assert words in link.fault
    assert link.maker.startswith("torch.tanh at tests/check/test_wiring.py")
    assert [user.split(" at ")[0] for user in link.users] == ["torch.nn.functional.linear"]
    assert "first.weight" in report.broken
    assert "second.weight" not in report.broken
    assert words in report.summary()


def test_a_parameter_whose_gradient_is_changed_at_the_end_is_named():
    def tripled(parameter):
        parameter.grad.mul_(3)

    class Tripled(nn.Linear):
        def forward(self, x):
            self.weight.register_post_accumulate_grad_hook(tripled)
            return F.linear(x, self.weight, self.bias)

    report = bptrain.check_gradients(Tripled(3, 2), torch.randn(4, 3))
    assert report.broken == ["weight"]
    (link,) = report.wiring
    assert link.maker == "weight"
    assert "scaled by 3" in link.fault


CUTS = {
    "detach": (lambda y: torch.tanh(y.detach()), "torch.Tensor.detach"),
    "data": (lambda y: torch.tanh(y.data), "torch.Tensor.data"),
    "no_grad": (torch.no_grad()(lambda y: torch.tanh(y)), "made under no_grad"),
}


@pytest.mark.parametrize("between, words", CUTS.values(), ids=CUTS)
def test_a_parameter_that_gets_no_gradient_is_unverified_and_the_cut_is_named(between, words):
    report = checked(between)
    assert report.verdict == "unverified"
    assert report.parameters["first.weight"].verdict == "unverified"
    assert report.parameters["second.weight"].verdict == "verified"
    (link,) = report.wiring
    assert words in link.fault
    assert link.parameters == ("first.bias", "first.weight")
    assert words in report.summary()
    assert not checked(between, strict=True).ok


@pytest.mark.parametrize("name", CUTS)
def test_a_gradient_that_is_cut_on_one_of_two_ways_is_a_contract(name):
    cut, words = CUTS[name]
    report = checked(lambda y: cut(y) + y)
    assert report.ok
    assert report.verdict == "contract"
    assert report.parameters["first.weight"].verdict == "contract"
    assert words in report.parameters["first.weight"].fault
    assert report.parameters["second.weight"].verdict == "verified"


def test_a_result_that_is_only_shown_is_no_cut():
    shown = []

    def between(y):
        shown.append(y.detach().mean())
        return torch.tanh(y)

    report = checked(between)
    assert report.verdict == "verified"
    assert not report.wiring


def test_a_tensor_that_comes_back_through_numpy_is_unverified_and_the_way_out_is_named():
    report = checked(lambda y: torch.from_numpy(torch.tanh(y).detach().numpy()))
    assert report.verdict == "unverified"
    (link,) = report.wiring
    assert "leaves the tape's sight" in link.fault


def test_what_accumulates_over_several_uses_is_no_fault():
    report = checked(lambda y: torch.tanh(y) + y * y - y[:, :1])
    assert report.verdict == "verified"
    assert not report.wiring


def test_a_straight_through_estimator_is_a_contract_for_what_it_estimates():
    report = bptrain.check_gradients(lambda x: x + (x.sign() - x).detach(), torch.randn(4, 3))
    assert report.verdict == "contract"
    assert "torch.Tensor.detach" in report.inputs["input"].fault


def test_a_tensor_made_in_the_shape_of_another_is_no_cut():
    report = checked(lambda y: torch.tanh(y) + y.new_ones(y.shape) + torch.zeros_like(y))
    assert report.verdict == "verified"


def test_what_is_written_past_autograd_is_a_contract_of_what_it_was_before():
    def between(y):
        z = torch.tanh(y)
        z.data = torch.ones_like(z)
        return z * z

    report = checked(between)
    assert report.verdict == "contract"
    assert "writes past autograd" in report.parameters["first.weight"].fault
    assert report.parameters["second.weight"].verdict == "verified"
