"""A transformer encoder with a linear head, over signals, images or tokens."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bptrain.modules.sequence import before_end, lengths_of, pooled


def sinusoids(steps: int, width: int) -> Tensor:
    """Positions as numbers (steps, width): sines and cosines by turns, of wavelengths from 2 pi to 20000 pi.

    P[t, 2i] = sin(t / 10000^(2i / width)), P[t, 2i + 1] the cosine of the same (Vaswani et al. 2017, 3.5).
    """
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000) / width))
    angles = torch.arange(steps)[:, None] * rates  # (T, ceil(W / 2))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width]


class TransformerNetwork(nn.Module):
    """(B, C, L) read as L steps of C features, (B, C, H, W) as H steps of C * W, or tokens (B, T) -> (B, O).

    `reader` makes vectors (..., W) of features or tokens; `positions` (T, W) are added. Tokens are read up to the first
    PAD, the others are masked. With the output "each" the head answers at each step: (B, T, O), zeros after the end.
    """

    def __init__(
        self,
        reader: nn.Module,
        positions: Tensor | None,
        blocks: nn.ModuleList,
        norm: nn.LayerNorm,
        head: nn.Linear,
        output: str,
    ) -> None:
        super().__init__()
        self.reader = reader
        if isinstance(positions, nn.Parameter) or positions is None:
            self.positions = positions
        else:
            self.register_buffer("positions", positions, persistent=False)
        self.blocks = blocks
        self.norm = norm
        self.head = head
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        padding = None
        if x.is_floating_point():
            x = x.transpose(1, 2).flatten(2)  # (B, T, F)
            steps = x.shape[1]
            lengths = torch.full(x.shape[:1], steps, device=x.device)
        else:
            steps, lengths = x.shape[1], lengths_of(x)
            x = x[:, : int(lengths.max())]  # what lies behind the longest is padding alone
            padding = ~before_end(lengths, x.shape[1])
        states = self.reader(x)  # (B, T, W)
        if self.positions is not None:
            states = states + self.positions[: states.shape[1]]
        for block in self.blocks:
            states = block(states, src_key_padding_mask=padding)
        states = self.norm(states)
        if self.output != "each":
            return self.head(pooled(states, self.output, lengths, steps))
        scores = self.head(states)  # (B, T, O)
        if padding is not None:
            scores = F.pad(scores.masked_fill(padding[..., None], 0), (0, 0, 0, steps - scores.shape[1]))
        return scores
