"""Autoencoders: an encoder that gives each example a code, and a decoder that gives it back."""

from __future__ import annotations

from torch import Tensor, nn


class Autoencoder(nn.Module):
    """(B, *shape) -> (B, *shape), by way of a code (B, K)."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class SequenceEncoder(nn.Module):
    """A signal (B, C, L), read as L steps -> the final state (B, H) of a recurrent network."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.GRU(channels, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        _, final = self.layers(x.transpose(1, 2))  # (1, B, H)
        return final[0]


class SequenceDecoder(nn.Module):
    """A code (B, K), given at every step -> a signal (B, C, L)."""

    def __init__(self, code: int, channels: int, steps: int, hidden: int) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.GRU(code, hidden, batch_first=True)
        self.head = nn.Linear(hidden, channels)

    def forward(self, code: Tensor) -> Tensor:
        states, _ = self.layers(code[:, None].expand(-1, self.steps, -1))  # (B, L, H)
        return self.head(states).transpose(1, 2)  # (B, C, L)
