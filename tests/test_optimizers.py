"""Optimizers: a few steps of each against the textbook's update, in numpy."""

import numpy as np
import pytest
import torch

from bptrain.optimizers.adagrad import Adadelta, Adafactor, Adagrad, RMSprop
from bptrain.optimizers.adam import Adam, Adamax, AdamW, NAdam, RAdam
from bptrain.optimizers.gradient_descent import ASGD, GD, SGD, Delta
from bptrain.optimizers.muon import Muon
from bptrain.optimizers.quasi_newton import LBFGS
from bptrain.optimizers.rprop import Rprop

SHAPES = ((3, 5), (2,))


def sgd(w, gradients, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """The generalized delta rule; the velocity starts as the first gradient."""
    v = None
    for g in gradients:
        g = g + weight_decay * w
        v = g if v is None else momentum * v + (1 - dampening) * g
        w = w - lr * (g + momentum * v if nesterov else v if momentum else g)
    return w


def rmsprop(w, gradients, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    square = mean = v = 0.0
    for g in gradients:
        g = g + weight_decay * w
        square = alpha * square + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        v = momentum * v + g / (np.sqrt(square - mean**2 if centered else square) + eps)
        w = w - lr * v
    return w


def adam(w, gradients, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled=False):
    m = v = greatest = 0.0
    for t, g in enumerate(gradients, 1):
        g = g if decoupled else g + weight_decay * w
        w = w * (1 - lr * weight_decay) if decoupled else w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        greatest = np.maximum(greatest, v)
        root = np.sqrt((greatest if amsgrad else v) / (1 - betas[1] ** t))
        w = w - lr * m / (1 - betas[0] ** t) / (root + eps)
    return w


def adamw(w, gradients, weight_decay=1e-2, **settings):
    return adam(w, gradients, weight_decay=weight_decay, decoupled=True, **settings)


def adagrad(w, gradients, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    total = initial_accumulator_value
    for t, g in enumerate(gradients):
        g = g + weight_decay * w
        total = total + g**2
        w = w - lr / (1 + t * lr_decay) * g / (np.sqrt(total) + eps)
    return w


def adadelta(w, gradients, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    square = steps = 0.0
    for g in gradients:
        g = g + weight_decay * w
        square = rho * square + (1 - rho) * g**2
        step = np.sqrt(steps + eps) / np.sqrt(square + eps) * g
        steps = rho * steps + (1 - rho) * step**2
        w = w - lr * step
    return w


def adafactor(w, gradients, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0):
    def rms(x):
        return np.sqrt(np.mean(x**2))

    rows = columns = square = 0.0
    for t, g in enumerate(gradients, 1):
        share = t**beta2_decay
        rate = max(eps[1], rms(w)) * min(lr, t**-0.5)
        w = w * (1 - lr * weight_decay)
        square = (1 - share) * square + share * g**2
        if g.ndim == 2:
            rows = (1 - share) * rows + share * np.mean(g**2, 1)
            columns = (1 - share) * columns + share * np.mean(g**2, 0)
        u = g / np.sqrt(np.outer(rows, columns) / np.mean(rows) if g.ndim == 2 else square)
        w = w - rate * u / max(1.0, rms(u) / d)
    return w


def adamax(w, gradients, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    m = largest = 0.0
    for t, g in enumerate(gradients, 1):
        g = g + weight_decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        largest = np.maximum(betas[1] * largest, np.abs(g) + eps)
        w = w - lr / (1 - betas[0] ** t) * m / largest
    return w


def nadam(w, gradients, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3, **decoupled):
    m, v, product = 0.0, 0.0, 1.0
    for t, g in enumerate(gradients, 1):
        g = g if decoupled else g + weight_decay * w
        w = w * (1 - lr * weight_decay) if decoupled else w
        mu, ahead = (betas[0] * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in (t, t + 1))
        product *= mu
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        mean = ahead * m / (1 - product * ahead) + (1 - mu) * g / (1 - product)
        w = w - lr * mean / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return w


def radam(w, gradients, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, **decoupled):
    m = v = 0.0
    most = 2 / (1 - betas[1]) - 1
    for t, g in enumerate(gradients, 1):
        g = g if decoupled else g + weight_decay * w
        w = w * (1 - lr * weight_decay) if decoupled else w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        rho = most - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
        step = m / (1 - betas[0] ** t)
        if rho > 5:
            r = np.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
            step = r * np.sqrt(1 - betas[1] ** t) * step / (np.sqrt(v) + eps)
        w = w - lr * step
    return w


def asgd(w, gradients, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0):
    for t, g in enumerate(gradients):
        eta = lr / (1 + lambd * lr * t) ** alpha
        w = (1 - lambd * eta) * w - eta * (g + weight_decay * w)
    return w


def rprop(w, gradients, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50.0)):
    before, length = 0.0, lr
    for g in gradients:
        factor = np.where(g * before > 0, etas[1], np.where(g * before < 0, etas[0], 1.0))
        length = np.clip(length * factor, *step_sizes)
        g = np.where(g * before < 0, 0.0, g)
        w = w - np.sign(g) * length
        before = g
    return w


CASES = [
    (SGD, sgd, {"lr": 0.1}),
    (SGD, sgd, {"lr": 0.1, "weight_decay": 0.2}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}),
    (GD, sgd, {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.2}),
    (RMSprop, rmsprop, {}),
    (RMSprop, rmsprop, {"lr": 0.1, "alpha": 0.8, "eps": 0.1, "weight_decay": 0.2, "momentum": 0.5, "centered": True}),
    (Adam, adam, {}),
    (Adam, adam, {"lr": 0.1, "betas": (0.5, 0.7), "eps": 0.1, "weight_decay": 0.2}),
    (Adam, adam, {"lr": 0.1, "betas": (0.5, 0.3), "amsgrad": True}),
    (AdamW, adamw, {}),
    (AdamW, adamw, {"lr": 0.1, "betas": (0.5, 0.3), "eps": 0.1, "weight_decay": 0.2, "amsgrad": True}),
    (Adagrad, adagrad, {}),
    (Delta, sgd, {"lr": 0.1, "momentum": 0.7}),
    (Adadelta, adadelta, {}),
    (Adadelta, adadelta, {"lr": 0.5, "rho": 0.7, "eps": 1e-2, "weight_decay": 0.2}),
    (Adafactor, adafactor, {}),
    (Adafactor, adafactor, {"lr": 0.9, "beta2_decay": -0.5, "eps": (1e-9, 2.0), "d": 1.1, "weight_decay": 0.2}),
    (Adamax, adamax, {}),
    (Adamax, adamax, {"lr": 0.1, "betas": (0.5, 0.7), "eps": 0.1, "weight_decay": 0.2}),
    (NAdam, nadam, {}),
    (NAdam, nadam, {"lr": 0.1, "betas": (0.5, 0.7), "eps": 0.1, "weight_decay": 0.2, "momentum_decay": 0.5}),
    (NAdam, nadam, {"lr": 0.1, "weight_decay": 0.2, "decoupled_weight_decay": True}),
    (RAdam, radam, {}),
    (RAdam, radam, {"lr": 0.1, "betas": (0.5, 0.8), "eps": 0.1, "weight_decay": 0.2}),
    (RAdam, radam, {"lr": 0.1, "betas": (0.5, 0.7), "weight_decay": 0.2, "decoupled_weight_decay": True}),
    (ASGD, asgd, {}),
    (ASGD, asgd, {"lr": 0.1, "lambd": 0.5, "alpha": 0.5, "t0": 2.0, "weight_decay": 0.2}),
    (Rprop, rprop, {}),
    (Rprop, rprop, {"lr": 0.1, "etas": (0.3, 1.7), "step_sizes": (0.07, 0.15)}),
    (Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.2, "initial_accumulator_value": 0.3, "eps": 0.1}),
]


@pytest.fixture(params=[(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
def precision(request):
    """Some optimizers keep a number of theirs in the default dtype."""
    torch.set_default_dtype(request.param[0])
    yield request.param
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("optimizer", "textbook", "settings"), CASES)
def test_update_is_that_of_the_textbook(optimizer, textbook, settings, precision):
    dtype, tolerance = precision
    torch.manual_seed(0)
    start = [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]
    # Gradients that shrink from step to step, so that a running maximum is told from a running mean.
    pulls = [[torch.randn(shape, dtype=torch.float64) / k for k in (1, 3, 9, 27)] for shape in SHAPES]
    parameters = [torch.nn.Parameter(w.to(dtype, copy=True)) for w in start]
    made = optimizer(**settings).build(parameters)
    for k in range(4):
        for parameter, pull in zip(parameters, pulls, strict=True):
            parameter.grad = pull[k].to(dtype)
        made.step()
    for parameter, w, pull in zip(parameters, start, pulls, strict=True):
        expected = textbook(w.numpy(), [g.numpy() for g in pull], **settings)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


def test_the_first_iteration_of_lbfgs_is_along_the_gradient():
    w = torch.nn.Parameter(torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64))
    start = w.detach().clone()
    made = LBFGS(lr=0.5, max_iter=1).build([w])

    def closure():
        made.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    made.step(closure)
    gradient = 2 * start
    length = 0.5 * min(1, 1 / gradient.abs().sum().item())
    torch.testing.assert_close(w.detach(), start - length * gradient)


def test_lbfgs_with_line_search_solves_least_squares():
    torch.manual_seed(0)
    a, y = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    w = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    made = LBFGS(lr=30.0, line_search_fn="strong_wolfe").build([w])  # far too long a step without the search

    def closure():
        made.zero_grad()
        loss = ((a @ w - y) ** 2).mean()
        loss.backward()
        return loss

    made.step(closure)
    torch.testing.assert_close(w.detach(), torch.linalg.lstsq(a, y[:, None]).solution[:, 0], rtol=0, atol=1e-4)


def test_muon_is_for_matrices_and_adamw_for_the_rest():
    torch.manual_seed(0)
    weight, kernel, bias = (torch.nn.Parameter(torch.randn(shape)) for shape in ((3, 5), (2, 3, 3), (4,)))
    start = [p.detach().clone() for p in (weight, kernel, bias)]
    settings = Muon(lr=0.1, weight_decay=0.3, adamw_lr=0.01, adamw_weight_decay=0.2, adamw_betas=(0.5, 0.7))
    made = settings.build([weight, kernel, bias])
    twins = [torch.nn.Parameter(w.clone()) for w in start]
    alone = torch.optim.Muon(twins[:1], lr=0.1, weight_decay=0.3)
    rest = torch.optim.AdamW(twins[1:], lr=0.01, weight_decay=0.2, betas=(0.5, 0.7))
    for _ in range(3):
        for p, twin in zip((weight, kernel, bias), twins, strict=True):
            p.grad = torch.randn(p.shape)
            twin.grad = p.grad.clone()
        made.step()
        alone.step()
        rest.step()
    for p, twin in zip((weight, kernel, bias), twins, strict=True):
        torch.testing.assert_close(p, twin, rtol=1e-6, atol=1e-7)
