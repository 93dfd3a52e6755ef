"""The line search against that inside torch's L-BFGS, on functions of one number with many minima and kinks."""

import pytest
import torch
from torch.optim.lbfgs import _strong_wolfe

from bptrain.reference.optimizers.lbfgs import LBFGS
from bptrain.reference.optimizers.line_search import Point, strong_wolfe
from bptrain.reference.update import run_step


def rough(kink, wall):
    """f(x) = 0.01 (x - c)^2 + h cos(f x + 2) + k |x - c|, with a wall h = 0 and 90 sigmoid(40 (x - c)) - x; f'(x)."""
    c, h, f, k = (torch.rand(4, dtype=torch.float64) * torch.tensor([9.0, 1.0 - wall, 5.0, kink])).tolist()

    def at(x):
        x = torch.as_tensor(x, dtype=torch.float64)
        wave, step = f * x + 2, (40 * (x - c)).sigmoid()
        loss = 0.01 * (x - c) ** 2 + h * wave.cos() + k * (x - c).abs() + wall * (90 * step - x)
        slope = 0.02 * (x - c) - h * f * wave.sin() + k * (x - c).sign() + wall * (3600 * step * (1 - step) - 1)
        return loss.item(), slope.reshape(1)

    return at


@pytest.mark.parametrize(("kink", "wall"), [(0.0, 0.0), (2.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("tries", [1, 2, 4, 25, 70])
def test_line_search_takes_torchs_point(tries, kink, wall):
    ways = set()
    for seed in range(300):
        torch.manual_seed(seed)
        at, first = rough(kink, wall), 10 ** (4 * torch.rand(1).item() - 3)
        loss, g = at(0.0)
        d = -g
        slope = g.dot(d)
        if slope > -1e-9:
            continue

        def theirs(x, t, d, at=at):
            return at(x[0] + t * d.item())

        def ours(t, d=d, at=at):
            loss, g = at(t * d.item())
            return Point(t, loss, g, g.dot(d))

        x = torch.zeros(1, dtype=torch.float64)
        expected, _, t, count = _strong_wolfe(theirs, x, first, d, loss, g, slope, max_ls=tries)
        point, evaluations = strong_wolfe(ours, Point(0.0, loss, g, slope), first, d.abs().max(), tries)
        assert evaluations == count
        assert (float(point.t), point.loss) == pytest.approx((float(t), expected), rel=1e-6, abs=1e-9)
        ways.add((evaluations, float(point.t) == 0))
    assert len(ways) >= min(3, tries)


def test_no_step_is_taken_from_a_minimum():
    """One evaluation, and nothing else, when the gradient is within tolerance_grad."""
    w = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    made = torch.optim.LBFGS([w])
    options = {k: v for k, v in made.param_groups[0].items() if k != "params"}

    def at(parameters):
        (x,) = parameters
        return 3.0, (torch.full_like(x, 1e-8),)

    def closure():
        w.grad = torch.full_like(w, 1e-8)
        return 3.0

    made.step(closure)
    (ours,), state = run_step(LBFGS, (torch.tensor([1.0, -2.0]),), at, {}, options)
    assert torch.equal(ours, torch.tensor([1.0, -2.0]))
    assert torch.equal(w.detach(), ours)
    assert state == dict(made.state[w])
