"""BFGS and CG: their iterates are those of scipy.optimize.minimize, and they stop as it does."""

import copy

import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.optimize import rosen, rosen_der
from torch import nn

from bptrain.optim.bfgs import BFGS
from bptrain.optim.cg import CG
from bptrain.optim.line_search import CONVERGED, STUCK

METHODS = [pytest.param(BFGS, "BFGS", id="bfgs"), pytest.param(CG, "CG", id="cg")]


class Descent:
    """A function of a vector, minimised over parameters of odd sizes that make it up."""

    def __init__(self, kind, function, x, **options):
        self.function, self.evaluations = function, 0
        self.parameters = [nn.Parameter(torch.tensor(part)) for part in np.split(x, [1, 1 + (len(x) - 1) // 3])]
        self.optimizer = kind(self.parameters, **options)

    @property
    def x(self):
        return torch.cat([p.detach() for p in self.parameters]).numpy()

    def closure(self):
        self.evaluations += 1
        loss, gradient = self.function(self.x)
        for p, g in zip(self.parameters, torch.tensor(gradient).split([len(p) for p in self.parameters]), strict=True):
            p.grad = g
        return loss

    def iterates(self, most):
        found = [self.x]
        while not self.optimizer.stopped and len(found) <= most:
            self.optimizer.step(self.closure)
            found.append(self.x)
        return found


def scipys(method, function, x, **options):
    return scipy.optimize.minimize(function, x, jac=True, method=method, options={"return_all": True, **options})


def rosenbrock(x):
    return rosen(x), rosen_der(x)


def network(seed):
    """The loss of a network of 23 weights as a function of them, by autograd."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0)).double()
    inputs, targets = torch.randn(17, 3).double(), torch.randn(17).double()

    def function(x):
        with torch.no_grad():
            nn.utils.vector_to_parameters(torch.tensor(x), model.parameters())
        model.zero_grad()
        loss = ((model(inputs) - targets) ** 2).mean()
        loss.backward()
        return loss.item(), torch.cat([p.grad.reshape(-1) for p in model.parameters()]).numpy()

    return function, nn.utils.parameters_to_vector(model.parameters()).detach().numpy()


@pytest.mark.parametrize(("kind", "method"), METHODS)
@pytest.mark.parametrize("size", [2, 5, 20])
def test_the_first_iterates_on_rosenbrocks_function_are_scipys(kind, method, size):
    """Later ones are apart as rounding grows, which the function about doubles in each iteration."""
    x = np.linspace(-1.2, 1.0, size)
    ours, theirs = Descent(kind, rosenbrock, x).iterates(15), scipys(method, rosenbrock, x).allvecs
    np.testing.assert_allclose(ours[:16], theirs[:16], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("kind", "method", "size"), [(BFGS, "BFGS", 5), (CG, "CG", 2)])
def test_a_whole_descent_on_rosenbrocks_function_is_scipys(kind, method, size):
    x = np.linspace(-1.2, 1.0, size)
    descent, theirs = Descent(kind, rosenbrock, x), scipys(method, rosenbrock, x)
    ours = descent.iterates(1000)
    assert len(ours) - 1 == theirs.nit > 30
    np.testing.assert_allclose(ours, theirs.allvecs, rtol=0, atol=1e-10)
    assert descent.optimizer.stopped == CONVERGED
    assert theirs.success


@pytest.mark.parametrize(("kind", "method"), METHODS)
@pytest.mark.parametrize("options", [{}, {"c1": 0.05, "c2": 0.3}])
def test_the_iterates_of_a_network_are_scipys(kind, method, options):
    function, x = network(seed=3)
    ours, theirs = Descent(kind, function, x, **options).iterates(12), scipys(method, function, x, **options).allvecs
    np.testing.assert_allclose(ours[:13], theirs[:13], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("kind", "method"), METHODS)
def test_a_descent_stops_at_gtol(kind, method):
    x = np.linspace(-1.2, 1.0, 4)
    descent = Descent(kind, rosenbrock, x, gtol=0.5)
    ours, theirs = descent.iterates(1000), scipys(method, rosenbrock, x, gtol=0.5)
    np.testing.assert_allclose(ours, theirs.allvecs, rtol=0, atol=1e-6)
    assert descent.optimizer.stopped == CONVERGED
    assert 0 < np.abs(rosen_der(ours[-1])).max() <= 0.5
    assert np.abs(rosen_der(ours[-2])).max() > 0.5
    there = Descent(kind, rosenbrock, ours[-1], gtol=0.5)
    there.optimizer.step(there.closure)
    assert there.evaluations == 1
    np.testing.assert_array_equal(there.x, ours[-1])


@pytest.mark.parametrize("kind", [BFGS, CG])
def test_a_search_that_finds_nothing_leaves_the_weights_and_says_so(kind):
    """The gradient has the wrong sign: along what it says, the function only rises."""
    descent = Descent(kind, lambda x: (rosen(x), -rosen_der(x)), np.array([0.5, 0.3, -0.2]))
    before = descent.x
    descent.optimizer.step(descent.closure)
    assert descent.optimizer.stopped == STUCK
    assert descent.evaluations > 1
    np.testing.assert_array_equal(descent.x, before)


@pytest.mark.parametrize("kind", [BFGS, CG])
def test_a_state_read_back_goes_on_to_the_bit_in_float64(kind):
    """The state has float64 numbers also where the parameters are float32, which torch would make of them."""
    function, x = network(seed=1)
    wide = Descent(kind, function, x)
    wide.iterates(4)
    other = Descent(kind, function, wide.x)
    other.optimizer.load_state_dict(copy.deepcopy(wide.optimizer.state_dict()))
    np.testing.assert_array_equal(wide.iterates(5), other.iterates(5))
    parameter = nn.Parameter(torch.zeros(3))
    narrow = kind([parameter])
    kept = {"t": 1.0, "before": 2.0, "n_iter": 3, "H": torch.full((3, 3), 0.1).double(), "d": torch.ones(3).double()}
    narrow.load_state_dict({"state": {0: kept}, "param_groups": narrow.state_dict()["param_groups"]})
    assert narrow.state[parameter]["H"].dtype == torch.float64
    assert torch.equal(narrow.state[parameter]["H"], kept["H"])


def test_parameters_in_groups_are_refused():
    with pytest.raises(ValueError, match="searched together"):
        BFGS([{"params": [nn.Parameter(torch.zeros(1))]}, {"params": [nn.Parameter(torch.zeros(1))]}])
