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
