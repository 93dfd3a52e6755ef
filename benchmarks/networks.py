"""The networks that all of the benchmarks train, in plain torch; each takes the same inputs as bptrain's."""

from __future__ import annotations

from torch import Tensor, nn


def mlp(*sizes: int) -> nn.Module:
    """(B, 1, 8, 8) -> (B, 10)."""
    layers: list[nn.Module] = [nn.Flatten()]  # (B, 64)
    for before, after in zip((64, *sizes), sizes, strict=False):
        layers += [nn.Linear(before, after), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear((64, *sizes)[-1], 10))


def cnn() -> nn.Module:
    """(B, 1, 28, 28) -> (B, 10)."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]  # (B, 16, 14, 14), (B, 32, 7, 7)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 7 * 7, 10))


class Recurrent(nn.Module):
    """(B, 1, T) read as T steps -> (B, 10)."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layers = kind(1, 64, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x.transpose(1, 2))[0][:, -1])  # (B, T, 1) -> (B, T, 64) -> (B, 64) -> (B, 10)
