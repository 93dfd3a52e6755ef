"""torch's gradient clipping against its formula."""

import math

import pytest
import torch

from bptrain.reference.clipping import clip_by_norm, clip_by_value

SHAPES = [(3, 5), (7,), ()]
NORMS = [1.0, 2.0, 3.0, 0.5, -1.0, math.inf, -math.inf, 0.0]


def pulled(scale=1.0):
    torch.manual_seed(0)
    gradients = [scale * torch.randn(shape, dtype=torch.float64) for shape in SHAPES]
    gradients[0][1, 2] = 0.0
    parameters = [torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in SHAPES]
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = g.clone()
    return parameters, gradients


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("norm_type", NORMS)
@pytest.mark.parametrize("max_norm", [0.7, 1e6])
def test_clipping_by_norm_is_torchs(norm_type, max_norm, foreach):
    parameters, gradients = pulled()
    theirs = torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type, foreach=foreach)
    ours, total, factor = clip_by_norm(gradients, max_norm, norm_type)
    torch.testing.assert_close(total, theirs, rtol=1e-13, atol=0)
    assert factor <= 1
    for p, g in zip(parameters, ours, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-13, atol=0)


def test_what_is_within_the_norm_stays_and_what_is_not_gets_it():
    _, gradients = pulled()
    kept, total, factor = clip_by_norm(gradients, 1e3)
    assert factor == 1
    assert all(torch.equal(a, b) for a, b in zip(kept, gradients, strict=True))
    clipped, _, factor = clip_by_norm(gradients, 0.5)
    torch.testing.assert_close(factor, 0.5 / (total + 1e-6))
    row = torch.cat([g.flatten() for g in clipped])
    torch.testing.assert_close(row.square().sum().sqrt().item(), 0.5, rtol=1e-5, atol=0)


def test_tiny_gradients_are_clipped_by_more_than_the_norm_says():
    """The 1e-6 counts once the norms are of its size: at max_norm = norm, half of the gradient goes."""
    _, gradients = pulled()
    tiny = [g * (1e-6 / clip_by_norm(gradients, 1.0)[1]) for g in gradients]
    torch.testing.assert_close(clip_by_norm(tiny, 1e-6)[2].item(), 0.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_element_that_is_not_finite_spoils_all(bad):
    parameters, gradients = pulled()
    for tensor in (parameters[1].grad, gradients[1]):
        tensor[3] = bad
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    ours, total, _ = clip_by_norm(gradients, 1.0)
    assert not total.isfinite()
    for p, g in zip(parameters, ours, strict=True):
        torch.testing.assert_close(p.grad, g, equal_nan=True)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("value", [0.3, 0.0, 1e6])
def test_clipping_by_value_is_torchs(value, foreach):
    parameters, gradients = pulled()
    torch.nn.utils.clip_grad_value_(parameters, value, foreach=foreach)
    for p, g in zip(parameters, clip_by_value(gradients, value), strict=True):
        assert torch.equal(p.grad, g)
