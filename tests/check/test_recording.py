"""What the recording makes of cells in loops, lazy modules, buffers and places written twice."""

import pytest
import torch
from torch import nn

import bptrain
from bptrain.errors import RequestError


class Net(nn.Module):
    """A linear layer, `body`, and a linear head."""

    def __init__(self, body):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head, self.body = nn.Linear(3, 4), nn.Linear(4, 2), body

    def forward(self, x):
        return self.head(self.body(self.first(x)))


def view_of(h):
    h = h.clone()
    h[:, 0].mul_(2)
    return h


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_in_a_loop_is_verified(cell):
    """The c of an LSTM's step is on the way to its h: each must be told from the other."""

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.cell, self.head = cell(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            state = None
            for step in x:
                state = self.cell(step, state)
            return self.head(state[0] if isinstance(state, tuple) else state)

    assert bptrain.check_gradients(Loop(), torch.randn(3, 5, 3)).verdict == "verified"
    assert bptrain.check_gradients(cell(3, 4), torch.randn(5, 3)).verdict == "verified"


def test_a_lazy_module_is_asked_to_be_called_once():
    with pytest.raises(RequestError, match="lazy"):
        bptrain.check_gradients(nn.LazyLinear(2), torch.randn(5, 3))
    ready = nn.LazyLinear(2)
    ready(torch.randn(5, 3))
    assert bptrain.check_gradients(ready, torch.randn(5, 3)).verdict == "verified"


def test_a_gradient_that_differences_find_nan_is_unverified():
    report = bptrain.check_gradients(lambda x: torch.special.i0(x * 0 + float("nan")) + x, torch.randn(3))
    assert report.ok


class SquareInto(torch.autograd.Function):
    """x^2, written into a tensor that is there."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.pow(x, 2, out=torch.empty_like(x))

    @staticmethod
    def backward(ctx, dy):
        return 2 * ctx.saved_tensors[0] * dy


def test_a_function_that_writes_into_its_buffers_is_unverified():
    assert bptrain.check_gradients(SquareInto.apply, torch.randn(2, 5)).verdict == "unverified"


def test_a_call_that_writes_to_a_view_is_checked_by_itself():
    report = bptrain.check_gradients(Net(view_of), torch.randn(5, 3))
    (call,) = (call for call in report.calls if call.function == "torch.Tensor.mul_")
    assert call.gradients["input"].verdict == "verified"
    assert call.gradients["input"].digits > 6


def test_a_wrong_gradient_beside_a_write_to_a_view_is_named():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, dy):
            return dy * 2.02

    def body(h):
        h = h.clone()
        h[:, 0] = Doubled.apply(h[:, 0])
        h[:, 1].mul_(2)
        return h

    report = bptrain.check_gradients(Net(body), torch.randn(5, 3))
    assert ["Doubled" in call.function for call in report.culprits] == [True], report


def test_several_values_for_one_place_are_no_rule_s_business():
    def twice(h):
        h = h * 1
        h[[1, 1]] = h[[0, 2]].clone()
        return h

    assert bptrain.check_gradients(twice, torch.randn(5, 3)).verdict != "verified"
