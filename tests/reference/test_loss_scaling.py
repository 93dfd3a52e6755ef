"""Loss scaling: exact for powers of two, and with torch's way to grow and shrink."""

import math

import pytest
import torch

from bptrain.reference.loss_scaling import next_scale, unscale


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [2.0**7, 2.0**-3])
def test_a_power_of_two_leaves_no_trace(dtype, scale):
    torch.manual_seed(0)
    g = torch.randn(31).to(dtype)
    (back,), finite = unscale([g * scale], scale)
    assert finite
    assert torch.equal(back, g)


def test_another_factor_does():
    g = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(unscale([g * 1000.1], 1000.1)[0][0], g)


def test_the_backward_pass_scales_with_the_loss():
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(5, 3), torch.randn(4, 5)
    loss = layer(x).sigmoid().sum()
    plain = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    scaled = torch.autograd.grad(loss * 2.0**16, list(layer.parameters()))
    for ours, theirs in zip(unscale(scaled, 2.0**16)[0], plain, strict=True):
        assert torch.equal(ours, theirs)


def test_a_gradient_too_small_for_half_precision_is_kept_by_a_scale():
    tiny = torch.tensor([3e-9])
    assert tiny.half() == 0
    (back,), _ = unscale([(tiny * 2.0**16).half().float()], 2.0**16)
    torch.testing.assert_close(back, tiny, rtol=1e-3, atol=0)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_an_overflow_is_seen(bad):
    assert not unscale([torch.ones(3), torch.tensor([1.0, bad])], 2.0)[1]


@pytest.mark.parametrize("start", [2.0**4, 3e38])
def test_the_scale_goes_torchs_way(start):
    options = {"growth_factor": 2.0, "backoff_factor": 0.25, "growth_interval": 3}
    theirs = torch.amp.GradScaler("cpu", init_scale=start, **options)
    p = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([p], lr=0.1)
    scale, clean = start, 0
    for finite in [True, True, True, True, False, True, True, True, True, True, True, True, False, False, True]:
        theirs.scale(p.sum())  # makes the scale a tensor
        p.grad = torch.tensor([1.0, 1.0 if finite else math.inf])
        before = p.detach().clone()
        theirs.step(optimizer)
        theirs.update()
        (g,), seen = unscale([torch.tensor([1.0, 1.0 if finite else math.inf])], scale)
        assert seen is finite
        torch.testing.assert_close(p.detach(), before - 0.1 * g if seen else before)
        scale, clean = next_scale(scale, clean, finite, **options)
        assert theirs.get_scale() == pytest.approx(scale, rel=1e-6)
