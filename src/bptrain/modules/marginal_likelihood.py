"""Negative logarithm of a Gaussian likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bptrain.modules.gaussian_process import cholesky


class MarginalLikelihood(nn.Module):
    """A mean (B, 1) with a covariance (B, B), or with variances (B, 1), and targets (B, 1) -> scalar, over B.

    With the covariance C = L L^T of all targets and r = L^-1 (y - mean), -log p(y) = |r|^2 / 2 + sum_i log l_ii +
    B log(2 pi) / 2 (Rasmussen and Williams 2006, equation 2.30); with variances, the targets are independent, and this
    is the negative log predictive density. TypeError for an output that is no such pair.
    """

    def forward(self, output: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        if not isinstance(output, tuple) or len(output) != 2:
            raise TypeError("loss=marginal_likelihood needs a mean and a covariance, as model=gp gives them")
        mean, covariance = output
        residual = targets - mean  # (B, 1)
        if covariance.shape == mean.shape:
            squares, logarithms = residual.square() / covariance, covariance.log() / 2
        else:
            factor = cholesky(covariance)
            squares = torch.linalg.solve_triangular(factor, residual, upper=False).square()
            logarithms = factor.diagonal().log()
        return (squares.sum() / 2 + logarithms.sum()) / len(mean) + math.log(2 * math.pi) / 2
