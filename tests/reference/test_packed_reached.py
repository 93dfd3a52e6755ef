"""Recurrent networks on packed sequences: verified, in float64 and in float32, whatever the lengths and their order."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence, pad_sequence

from bptrain import check_gradients

DTYPES = [torch.float64, torch.float32]
SIZES = {"one layer": (2, 3), "layers": (2, 3, 3)}
OPTIONS = {"one layer": {"batch_first": True}, "layers": {"bidirectional": True, "dropout": 0.4}}
KINDS = {
    "tanh": nn.RNN,
    "relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "projected lstm": lambda *sizes, **options: nn.LSTM(*sizes, proj_size=2, **options),
}


class Packed(nn.Module):
    """A recurrent network that reads padded sequences packed and gives its outputs padded, and its final state."""

    def __init__(self, network, lengths, total=None):
        super().__init__()
        self.network, self.lengths, self.total = network, lengths, total

    def forward(self, x, *state):
        batch_first = self.network.batch_first
        packed = pack_padded_sequence(x, self.lengths, batch_first, enforce_sorted=False)
        y, final = self.network(packed, *state)
        return pad_packed_sequence(y, batch_first, 0.5, self.total)[0], final


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", [[2, 4, 1], [3, 3, 3]])
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_on_packed_sequences_is_verified(kind, shape, lengths, dtype):
    torch.manual_seed(0)
    model = Packed(KINDS[kind](*SIZES[shape], **OPTIONS[shape]), lengths, total=5).to(dtype)
    report = check_gradients(model, torch.randn((3, 4, 2) if shape == "one layer" else (4, 3, 2), dtype=dtype))
    assert report.verdict == "verified", report
    assert report.coverage == {"calls": 1.0, "parameters": 1.0}


def test_the_gradients_of_a_packed_call_bear_the_names_of_its_arguments():
    torch.manual_seed(0)
    report = check_gradients(Packed(nn.GRU(2, 3), [4, 2]), (torch.randn(4, 2, 2), torch.randn(1, 2, 3)))
    call = next(call for call in report.calls if call.function == "torch.gru")
    assert set(call.gradients) == {"input", "hx", *(f"params[{i}]" for i in range(4))}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_sequences_padded_and_packed_by_themselves_are_verified(side, dtype):
    def model(x, z):
        packed = pad_packed_sequence(pack_sequence([x, z]), padding_value=0.5)[0]
        return packed, pad_sequence([z, x, z], batch_first=True, padding_side=side)

    report = check_gradients(model, (torch.randn(4, 2, dtype=dtype), torch.randn(3, 2, dtype=dtype)))
    assert report.verdict == "verified", report
