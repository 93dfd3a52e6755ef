"""A recurrent layer over signals."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from bptrain.modules.recurrent import last_state

KINDS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentLayer(nn.Module):
    """(B, C, L) -> (B, D H, L), or the last state of each direction: (B, D H)."""

    def __init__(
        self,
        kind: Literal["rnn", "gru", "lstm"],
        features: int,
        hidden: int,
        bidirectional: bool,
        output: Literal["every", "last"],
    ) -> None:
        super().__init__()
        self.layer = KINDS[kind](features, hidden, bidirectional=bidirectional, batch_first=True)
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        states, final = self.layer(x.transpose(1, 2))  # (B, L, D H), (D, B, H)
        if self.output == "every":
            return states.transpose(1, 2)  # (B, D H, L)
        return last_state(self.layer, final)
