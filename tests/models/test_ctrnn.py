"""The continuous-time recurrent network: its equation, its solvers, and their adjoint."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from bptrain.check.gradients import check_gradients
from bptrain.errors import RequestError
from bptrain.models.ctrnn import CTRNN
from bptrain.modules import ctrnn

SOLVERS = ["euler", "rk4"]


def made(shape=(3,), outputs=8, seed=0, **settings):
    torch.manual_seed(seed)
    model = CTRNN(5, **{"points": 4, **settings}).build(shape, outputs).double()
    with torch.no_grad():
        model.log_tau += torch.randn(5) / 4
        if model.bias is not None:
            model.bias += torch.randn(5) / 4
    return model


def exact(model, h, drive, time):
    """The state after some time, from scipy."""
    w, tau = model.weight.detach().numpy(), model.log_tau.detach().exp().numpy()
    slope = lambda t, h: (-h + np.tanh(w @ h + drive)) / tau  # noqa: E731
    return solve_ivp(slope, (0, time), h, rtol=1e-11, atol=1e-12).y[:, -1]


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("rk4", 4)])
def test_a_free_run_follows_the_equation_to_the_order_of_the_solver(solver, order):
    x = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    errors = []
    for substeps in (4, 8):
        model = made(solver=solver, dt=0.8 / substeps, substeps=substeps)
        h = model.input(x).detach().numpy()
        expected = [
            model.head(torch.tensor(exact(model, h, model.bias.detach().numpy(), 0.8 * k))) for k in (1, 2, 3, 4)
        ]
        errors.append((model(x[None])[0] - torch.cat(expected)).norm().item())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.5)


def test_a_signal_drives_it_value_by_value_from_rest():
    model = made((2, 3), 4, solver="rk4", dt=0.02, substeps=10)
    x = torch.randn(1, 2, 3, dtype=torch.float64)
    h = np.zeros(5)
    for t in range(3):
        h = exact(model, h, model.input(x[0, :, t]).detach().numpy(), 0.2)
    torch.testing.assert_close(model(x)[0], model.head(torch.tensor(h)), atol=1e-8, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("shape", "outputs"), [((3,), 8), ((2, 4), 3)])
def test_the_adjoint_is_the_gradient_of_backprop_through_the_solver(solver, shape, outputs):
    x = torch.randn(6, *shape, dtype=torch.float64)
    values, gradients = [], []
    for adjoint in (False, True):
        model = made(shape, outputs, solver=solver, substeps=2, dt=0.3, adjoint=adjoint)
        given = x.clone().requires_grad_()
        y = model(given)
        y.square().sum().backward()
        values.append(y.detach())
        gradients.append([given.grad, *(p.grad for p in model.parameters())])
    assert torch.equal(*values)
    for through, adjoint in zip(*gradients, strict=True):
        torch.testing.assert_close(adjoint, through, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("rk4", 4)])
def test_the_adjoint_nears_the_continuous_one_with_the_order_of_the_solver(solver, order):
    def gradient(substeps, solver=solver):
        model = made(solver=solver, dt=0.8 / substeps, substeps=substeps, adjoint=True)
        model(torch.ones(1, 3, dtype=torch.float64)).square().sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    best = gradient(64, "rk4")
    errors = [(gradient(substeps) - best).norm().item() for substeps in (4, 8)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.5)


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_gradients_are_verified(solver, adjoint):
    model = made(solver=solver, adjoint=adjoint).float()
    assert check_gradients(model, torch.randn(3, 3)).verdict == "verified"


def test_an_adjoint_of_another_scheme_is_found_wrong(monkeypatch):
    monkeypatch.setattr(ctrnn.Adjoint, "backward", staticmethod(_of_euler))
    report = check_gradients(made(solver="rk4", adjoint=True).float(), torch.randn(3, 3))
    assert report.verdict == "wrong"


_backward = ctrnn.Adjoint.backward


def _of_euler(ctx, dstates):
    ctx.scheme = ctx.scheme[0], ctrnn.EULER
    return _backward(ctx, dstates)


REFUSED = [
    (lambda: CTRNN().build((1, 8, 8), 2), "model: signals rows (1, 8, 8) model=cnn"),
    (lambda: CTRNN(points=3).build((2,), 8), "model.points: 3 8 outputs"),
]


@pytest.mark.parametrize(("build", "words"), REFUSED)
def test_what_does_not_fit_is_refused(build, words):
    with pytest.raises(RequestError) as error:
        build()
    assert all(word in str(error.value) for word in words.split())
