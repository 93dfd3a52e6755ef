"""Truncated backprop through time: equal to the whole where nothing is cut, and to a loop over cells where it is."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bptrain.modules.truncation import truncated

KINDS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}
LENGTHS = [7, 2, 5, 3]


def layers_of(kind, layers=1):
    torch.manual_seed(0)
    return KINDS[kind](3, 5, layers, batch_first=True).double()


def gradients_of(layers, states, final):
    """Of a loss that all states and the final ones have a part in."""
    finals = final if isinstance(final, tuple) else (final,)
    loss = (states.sin() * torch.arange(1.0, 1 + states.shape[1])[:, None]).sum() + sum((h**3).sum() for h in finals)
    return torch.autograd.grad(loss, list(layers.parameters()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_it_is_a_loop_over_cells_whose_state_is_cut_off_at_each_chunk(kind, steps):
    layers, x = layers_of(kind), torch.randn(4, 7, 3).double()
    cell = CELLS[kind](3, 5).double()
    for name, p in cell.named_parameters():
        p.data.copy_(getattr(layers, f"{name}_l0"))
    state, states = None, []
    for t in range(7):
        if t and t % steps == 0:
            state = tuple(h.detach() for h in state) if kind == "lstm" else state.detach()
        state = cell(x[:, t], state)
        states.append(state[0] if kind == "lstm" else state)
    final = tuple(h[None] for h in state) if kind == "lstm" else state[None]
    theirs = gradients_of(cell, torch.stack(states, 1), final)
    ours = gradients_of(layers, *truncated(layers, x, steps))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_covers_the_sequence_cuts_nothing_to_the_bit(kind):
    layers, x = layers_of(kind, layers=2), torch.randn(4, 7, 3).double()
    whole = gradients_of(layers, *layers(x))
    for steps in (7, 100):
        assert all(map(torch.equal, gradients_of(layers, *truncated(layers, x, steps)), whole))
    cut = gradients_of(layers, *truncated(layers, x, 6))
    assert not any(map(torch.equal, cut[:4], whole))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 6])
def test_packed_sequences_are_read_each_by_itself(kind, steps):
    """Some end within a chunk, some at its end, and each is cut where it would be alone."""
    layers, x = layers_of(kind, layers=2), torch.randn(4, 7, 3).double()
    packed = pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    made, final = truncated(layers, packed, steps)
    states, _ = pad_packed_sequence(made, batch_first=True)
    alone = [truncated(layers, x[i : i + 1, :n], steps) for i, n in enumerate(LENGTHS)]
    padded = torch.cat([nn.functional.pad(s, (0, 0, 0, 7 - s.shape[1])) for s, _ in alone])
    finals = [f if isinstance(f, tuple) else (f,) for _, f in alone]
    joined = tuple(torch.cat(of_one, 1) for of_one in zip(*finals, strict=True))
    torch.testing.assert_close(states, padded, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(final if kind == "lstm" else (final,), joined, rtol=1e-12, atol=1e-12)
    ours, theirs = gradients_of(layers, states, final), gradients_of(layers, padded, joined)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
