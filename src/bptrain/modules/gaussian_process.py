"""Exact Gaussian process regression."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bptrain.errors import RunFailed


def cholesky(covariance: Tensor) -> Tensor:
    """The lower factor; RunFailed where rounding has left the matrix without one."""
    try:
        return torch.linalg.cholesky(covariance)
    except torch.linalg.LinAlgError:
        what = f"the covariance is not positive definite in {str(covariance.dtype).removeprefix('torch.')}"
        raise RunFailed(f"{what}: write precision=fp64, or raise model.jitter.") from None


class GaussianProcess(nn.Module):
    """Inputs (B, *) -> mean (B, 1) and covariance (B, B) of their targets in training; else mean and variance (B, 1).

    In training they are the prior's, of which the marginal likelihood is made. In evaluation they are those that
    follow from the training part, which `condition` has put in, and without it the prior's, too. With K of the
    training inputs, k between them and a new one, and L L^T = K + jitter I (Rasmussen and Williams 2006, 2.2):
        mean = m + k^T (L L^T)^-1 (y - m),   variance = k(x, x) - |L^-1 k|^2
    The variance is that of a target, noise in it.
    """

    def __init__(self, kernel: nn.Module, mean: bool, features: nn.Module | None, jitter: float) -> None:
        super().__init__()
        self.features = nn.Flatten() if features is None else features
        self.kernel = kernel
        self.mean = nn.Parameter(torch.zeros(())) if mean else 0.0
        self.jitter = jitter
        self.register_buffer("inputs", None)
        self.register_buffer("targets", None)

    def condition(self, inputs: Tensor, targets: Tensor) -> None:
        """Keeps the training part, inputs (N, *) and targets (N, 1)."""
        self.inputs, self.targets = inputs, targets

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f = self.features(x)  # (B, F)
        mean = self.mean + x.new_zeros(len(x), 1)
        if self.training:
            return mean, self._covariance(f)
        variance = self.kernel.variance_at(f)[:, None]  # type: ignore[operator]
        if self.inputs is None:
            return mean, variance
        known = self.features(self.inputs)  # (N, F)
        factor = cholesky(self._covariance(known))
        both = torch.cat([self.targets - self.mean, self.kernel(known, f)], 1)  # (N, 1 + B)
        residual, between = torch.linalg.solve_triangular(factor, both, upper=False).split([1, len(x)], 1)
        explained = between.square().sum(0)[:, None]  # (B, 1)
        return mean + between.T @ residual, (variance - explained).clamp(min=self.jitter)

    def predict(self, x: Tensor) -> Tensor:
        """The mean alone."""
        return self(x)[0]

    def _covariance(self, f: Tensor) -> Tensor:
        return self.kernel(f) + self.jitter * torch.eye(len(f), dtype=f.dtype, device=f.device)
