"""Cross-entropy of tokens."""

from __future__ import annotations

from torch import Tensor, nn


class TokenCrossEntropy(nn.CrossEntropyLoss):
    """Scores (B, T, K) and classes (B, T) -> scalar, the mean over all tokens whose class is not `ignore_index`."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        there = target != self.ignore_index
        return super().forward(input[there], target[there])  # (N, K), (N,)
