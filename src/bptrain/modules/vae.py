"""Variational autoencoder: a code drawn at random, and a bound on how probable the input is."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bptrain.modules.draws import normal

SEED = 0  # of the codes that are drawn in evaluation


class VAE(nn.Module):
    """(B, *shape) -> the two terms of minus the bound on log p(x), in nats: (B, 2).

    The encoder gives mean m and logarithm of the variance s^2 of q(z|x) = N(m, s^2), the decoder the logits or means
    of p(x|z), and p(z) = N(0, 1). The terms are -log p(x|z) for a z = m + s e with e from N(0, 1), and

        KL(q(z|x) || p(z)) = (m^2 + s^2 - 1 - log s^2) / 2, summed over the code.

    Gaussian values share one variance, which is learned. In evaluation e comes from a generator of its own that always
    starts alike: the bound needs a draw (at z = m it would be none), and two evaluations of a state must agree.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, likelihood: Literal["bernoulli", "gaussian"]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.log_variance = nn.Parameter(torch.zeros(())) if likelihood == "gaussian" else None

    def forward(self, x: Tensor) -> Tensor:
        mean, log_variance = self.encoder(x).chunk(2, 1)  # (B, K) each
        generator = None if self.training else torch.Generator(x.device).manual_seed(SEED)
        z = mean + (log_variance / 2).exp() * normal(mean, generator)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2  # (B,)
        surprise = self._surprise(x, self.decoder(z)).flatten(1).sum(1)  # (B,)
        return torch.stack([surprise, divergence], 1)  # (B, 2)

    def _surprise(self, x: Tensor, decoded: Tensor) -> Tensor:
        """-log p(x|z) of each value."""
        if self.log_variance is None:
            return F.binary_cross_entropy_with_logits(decoded, x, reduction="none")
        errors = (x - decoded).square() * (-self.log_variance).exp()
        return (errors + self.log_variance + math.log(2 * math.pi)) / 2

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the bound (B,), and what the mean of the code is decoded to (B, *shape)."""
        decoded = self.decoder(self.encoder(x).chunk(2, 1)[0])
        return self(x).sum(1), decoded.sigmoid() if self.log_variance is None else decoded
