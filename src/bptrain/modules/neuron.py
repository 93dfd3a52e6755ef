"""A single unit with a threshold."""

from __future__ import annotations

from torch import Tensor, nn


class Neuron(nn.Module):
    """(B, *shape) -> (B, 1): z = w x + b, or with `hard` +1 where z is above 0 and -1 elsewhere.

    The answer a = [z > 0] has the derivative 0 wherever it has one. a = s + (a - s), where what stands in the brackets
    is a constant for the backward pass, has the value of a and the gradient of s = sigmoid(z).
    """

    def __init__(self, inputs: int, hard: bool) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.head = nn.Linear(inputs, 1)
        self.hard = hard

    def forward(self, x: Tensor) -> Tensor:
        z = self.head(self.flatten(x))  # (B, 1)
        if not self.hard:
            return z
        s = z.sigmoid()
        answer = s + ((z > 0).to(s.dtype) - s).detach()
        return 2 * answer - 1
