"""The gradient of a step against those of its batches, where an engine's kernels are not those that made these."""

import pytest
import torch

from bptrain.check.stepped_gradient import compare_stepped
from bptrain.check.verdict import VERIFIED, WRONG

ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-3}  # of the gradients of the batches, of the size of the largest


def judged(factor, dtype, of="exact", moved=0.0):
    """The verdict of a gradient that is `factor` times the exact one, or the one that the batches gave; with an element
    that is `moved` by a share of the largest."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    rough = (exact + ROUNDING[dtype] * torch.randn(7, 5, generator=generator, dtype=torch.float64)).float()
    theirs = {"w": (factor * (exact if of == "exact" else rough)).float()}
    theirs["w"][2, 3] += moved * exact.abs().max()
    coarsest = dtype if dtype.itemsize < 4 else None
    found = compare_stepped(theirs, [{"w": rough}], [3], None, {"w": None}, lambda: [{"w": exact}], coarsest)
    return found.parameters["w"].verdict


@pytest.mark.parametrize("dtype", ROUNDING)
def test_a_gradient_nearer_to_the_exact_one_than_eager_code_is_not_accused(dtype):
    assert judged(1.0, dtype) == VERIFIED


@pytest.mark.parametrize("dtype", ROUNDING)
def test_one_that_is_a_thousandth_too_long_is(dtype):
    assert judged(1.001, dtype, of="the batches") == WRONG


def test_one_that_no_rounding_explains_is():
    assert judged(1.001, torch.float32) == WRONG
    assert judged(1.05, torch.bfloat16) == WRONG
    assert judged(1.0, torch.bfloat16, moved=0.1) == WRONG
