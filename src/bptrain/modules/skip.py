"""A connection around layers."""

from __future__ import annotations

from torch import Tensor, nn


class Skip(nn.Module):
    """y = body(x) + shortcut(x), the shortcut being the identity unless another is given."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut if shortcut is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)
