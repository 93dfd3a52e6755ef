"""Recurrent modules recorded in a forward pass: the reference gives autograd's gradients through all of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bptrain.reference.backprop import backprop, evaluate
from bptrain.reference.tape import Tape

KINDS = {
    "tanh": nn.RNN,
    "relu": lambda *args, **options: nn.RNN(*args, nonlinearity="relu", **options),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}
SHAPES = [(1, False, 0.0), (1, True, 0.0), (2, False, 0.0), (2, True, 0.0), (2, False, 0.3), (3, True, 0.3)]


def assert_gradients_equal(tape, loss, leaves):
    run = backprop(tape, tape.variable(loss), torch.float64)
    torch.testing.assert_close(run.value(tape.variable(loss)), loss.detach(), rtol=1e-12, atol=1e-12)
    loss.backward()
    assert not run.unruled
    for name, leaf in leaves.items():
        torch.testing.assert_close(run.gradients[tape.leaves[name]], leaf.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layers", "bidirectional", "dropout"), SHAPES)
def test_gradients_of_layers_are_those_of_autograd(kind, layers, bidirectional, dropout):
    torch.manual_seed(0)
    options = {"bidirectional": bidirectional, "dropout": dropout, "batch_first": True, "dtype": torch.float64}
    model = KINDS[kind](2, 3, layers, **options)
    x = torch.randn(5, 4, 2, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 2, 1, 1, 0])
    with Tape(model) as tape:
        tape.leaf("x", x)
        output, final = model(x)
        states = final if isinstance(final, tuple) else (final,)
        # The last step of the reverse direction has seen one input only: the final states lead through the others.
        loss = F.cross_entropy(output[:, -1, :3], target) + sum((s**2).sum() for s in states)
    assert_gradients_equal(tape, loss, {"x": x, **dict(model.named_parameters())})


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_without_a_batch_axis_is_covered(kind):
    torch.manual_seed(0)
    model = KINDS[kind](2, 3, bias=False, dtype=torch.float64)
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    with Tape(model) as tape:
        tape.leaf("x", x)
        loss = F.cross_entropy(model(x)[0][-1], torch.tensor(1))
    assert_gradients_equal(tape, loss, {"x": x, **dict(model.named_parameters())})


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_a_loop_over_a_cell_is_covered(cell):
    torch.manual_seed(0)
    model = cell(2, 3, dtype=torch.float64)
    x = torch.randn(4, 5, 2, dtype=torch.float64, requires_grad=True)
    with Tape(model) as tape:
        tape.leaf("x", x)
        state = None
        for step in x:
            state = model(step, state)
        h = state[0] if isinstance(state, tuple) else state
        loss = F.cross_entropy(h, torch.tensor([0, 2, 1, 1, 0]))
    assert_gradients_equal(tape, loss, {"x": x, **dict(model.named_parameters())})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_masks_of_a_narrow_dtype_are_read_and_not_redrawn(kind, dtype):
    torch.manual_seed(0)
    model = KINDS[kind](2, 5, 3, dropout=0.4, dtype=dtype)
    with Tape(model) as tape:
        output, _ = model(torch.randn(4, 3, 2, dtype=dtype))
    reference = evaluate(tape.calls[-1], tape.values.__getitem__, torch.float64).outputs[0]
    error = (reference - output.double()).abs().max()
    assert error < 2 * torch.finfo(dtype).eps
