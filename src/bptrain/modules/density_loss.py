"""Losses of density models: their outputs are figures of each example already, so that targets are not looked at."""

from __future__ import annotations

from torch import Tensor, nn


class ELBO(nn.Module):
    """-log p(x|z) and the divergence (B, 2) -> the mean of their sum, the divergence weighted by beta."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        surprise, divergence = output.unbind(1)  # (B,) each
        return (surprise + self.beta * divergence).mean()


class ContrastiveDivergence(nn.Module):
    """Free energies of the data (B,) and of the model's own (M,) -> the difference of their means."""

    def forward(self, output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        if isinstance(output, Tensor):
            raise TypeError("it takes the pair of free energies that model=rbm gives")
        data, model = output
        return data.mean() - model.mean()
