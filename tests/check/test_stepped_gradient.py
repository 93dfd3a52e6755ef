"""The gradient of a step against those of its batches, where an engine's kernels are not those that made these."""

import torch

from bptrain.check.stepped_gradient import compare_stepped
from bptrain.check.verdict import VERIFIED, WRONG


def judged(factor):
    """The verdict of a gradient that is `factor` times the exact one, beside one that is off by 1e-5 of the largest."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    rough = (exact + 1e-5 * torch.randn(7, 5, generator=generator, dtype=torch.float64)).float()
    theirs = {"w": (factor * exact).float()}
    found = compare_stepped(theirs, [{"w": rough}], [3], None, {"w": None}, lambda: [{"w": exact}])
    return found.parameters["w"].verdict


def test_a_gradient_nearer_to_the_exact_one_than_eager_code_is_not_accused():
    assert judged(1.0) == VERIFIED


def test_one_that_is_a_thousandth_too_long_is():
    assert judged(1.001) == WRONG
