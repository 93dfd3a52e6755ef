"""A recurrent network with a linear head, over signals or images."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


class SequenceNetwork(nn.Module):
    """(B, C, L) read as L steps of C features, or (B, C, H, W) as H steps of C * W features -> (B, O)."""

    def __init__(self, layers: nn.RNNBase, head: nn.Linear, output: Literal["last", "every"]) -> None:
        super().__init__()
        self.layers = layers
        self.head = head
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        steps = x.transpose(1, 2).flatten(2)  # (B, T, F)
        states, final = self.layers(steps)  # (B, T, D * H), (layers * D, B, H)
        if self.output == "every":
            return self.head(states.flatten(1))  # (B, T * D * H) -> (B, O)
        if isinstance(self.layers, nn.LSTM):
            final = final[0]  # the cell's own state stays inside
        directions = 2 if self.layers.bidirectional else 1
        return self.head(final[-directions:].transpose(0, 1).flatten(1))  # (D, B, H) -> (B, D * H) -> (B, O)
