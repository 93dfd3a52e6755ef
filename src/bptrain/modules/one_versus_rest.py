"""Binary cross-entropy on classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class OneVersusRest(nn.BCEWithLogitsLoss):
    """Logits (B, O) and classes (B,) -> scalar: one yes or no for each class, or for class 1 where O = 1."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        outputs = input.shape[1]
        answers = target[:, None] if outputs == 1 else F.one_hot(target, outputs)  # (B, O)
        return super().forward(input, answers.to(input.dtype))
