"""Calls of losses that torch warns about, and that therefore stand in no rule's cases."""

import pytest
import torch
import torch.nn.functional as F

from bptrain.reference.rule import bind, rule_for, run_backward, run_forward

OLD = [({"reduce": False}, "none"), ({"size_average": False}, "sum"), ({"size_average": True}, "mean")]
LOSSES = [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("old", "reduction"), OLD)
def test_deprecated_arguments_override_the_reduction(loss, old, reduction):
    x, t = torch.rand(2, 3, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)
    with pytest.warns(UserWarning, match="deprecated"):
        expected = loss(x, t, **old)
    y, _ = run_forward(rule_for(loss), bind(rule_for(loss), (x, t), old))
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(y, loss(x, t, reduction=reduction))


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
@pytest.mark.parametrize(("old", "reduction"), OLD)
def test_deprecated_arguments_override_the_reduction_over_classes(loss, old, reduction):
    x, t = torch.rand(2, 3, dtype=torch.float64), torch.tensor([2, 0])
    y, _ = run_forward(rule_for(loss), bind(rule_for(loss), (x, t), old))
    torch.testing.assert_close(y, loss(x, t, reduction=reduction))


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_a_broadcast_target_gets_the_sum_of_its_copies(loss, reduction):
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    t = torch.randn(2, 1, dtype=torch.float64, requires_grad=True)
    with pytest.warns(UserWarning, match="broadcasting"):
        expected = loss(x, t, reduction=reduction)
    rule = rule_for(loss)
    y, cache = run_forward(rule, bind(rule, (x.detach(), t.detach()), {"reduction": reduction}))
    torch.testing.assert_close(y, expected.detach())
    dy = torch.randn_like(y)
    gradients = run_backward(rule, cache, dy)
    for name, gradient in zip(("input", "target"), torch.autograd.grad(expected, (x, t), dy), strict=True):
        torch.testing.assert_close(gradients[name], gradient)
