"""What rounding explains of a gradient, where it is more than the rounding of the numbers that go in."""

import pytest
import torch
from torch import nn

import bptrain


@pytest.mark.parametrize(("kind", "places"), [(nn.Conv1d, [300]), (nn.Conv2d, [9, 9])])
def test_a_bias_whose_terms_torch_adds_one_after_another_is_not_called_wrong(kind, places):
    """The terms of the first half of the rows nearly cancel those of the others: on the way the sum is large."""
    torch.manual_seed(0)
    layer = kind(2, 16, 3)
    rows = torch.randn(256, 2, *places)
    weights = 0.1 * torch.randn_like(layer(rows))
    weights[:128] += 0.1
    weights[128:] -= 0.09
    report = bptrain.check_gradients(layer, rows, weights, lambda y, w: (y * w).sum())
    assert report.ok, report
    assert report.calls[0].gradients["bias"].explained < 0.01  # an error of 1 % is none of rounding


class Likelihood(nn.Module):
    """Minus the logarithm of a Gaussian's density, its covariance of places so near that it is nearly singular."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x, y):
        covariance = torch.exp(-(x[:, None] - x).square() * self.scale.exp()) + 1e-9 * torch.eye(len(x), dtype=x.dtype)
        factor = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
        return white.square().sum() / 2 + factor.diagonal().log().sum()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_matrix_near_singular_is_rounded_and_not_wrong(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(40, generator=generator, dtype=torch.float64)
    y = torch.sin(6 * x) + 0.1 * torch.randn(40, generator=generator, dtype=torch.float64)
    assert bptrain.check_gradients(Likelihood(), (x, y)).verdict == "verified"
