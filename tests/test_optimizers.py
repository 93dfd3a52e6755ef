"""Optimizers: a few steps of each against the textbook's update, in numpy."""

import inspect

import numpy as np
import pytest
import torch

from bptrain.config.component import components
from bptrain.config.read import read_component
from bptrain.optimizers import GD, LBFGS, SGD, Adagrad, Adam, AdamW, RMSprop

OPTIMIZERS = components("optimizer")
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
    (Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.2, "initial_accumulator_value": 0.3, "eps": 0.1}),
]


@pytest.mark.parametrize(("optimizer", "textbook", "settings"), CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_update_is_that_of_the_textbook(optimizer, textbook, settings, dtype, tolerance):
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


def test_full_batch_and_closure_are_said():
    flags = {name: (optimizer.full_batch, optimizer.closure) for name, optimizer in OPTIMIZERS.items()}
    assert {name for name, (full, _) in flags.items() if full} == {"gd", "lbfgs"}
    assert {name for name, (_, closure) in flags.items() if closure} == {"lbfgs"}


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"gd"}))
def test_settings_have_the_names_and_defaults_of_torch(name):
    optimizer = OPTIMIZERS[name]
    parameters = inspect.signature(getattr(torch.optim, optimizer.__name__)).parameters
    assert vars(optimizer()) == {key: parameters[key].default for key in vars(optimizer())}


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"name": "sgd", "nesterov": True}, "optimizer.nesterov"),
        ({"name": "sgd", "nesterov": True, "momentum": 0.9, "dampening": 0.1}, "optimizer.dampening"),
        ({"name": "adam", "betas": [0.9]}, "optimizer.betas"),
        ({"name": "adamw", "betas": [0.9, 0.99, 0.999]}, "optimizer.betas"),
        ({"name": "adam", "betas": [0.9, 1.0]}, "optimizer.betas"),
        ({"name": "adam", "lr": -1}, "optimizer.lr"),
        ({"name": "sgd", "momentum": 9}, "optimizer.momentum"),
        ({"name": "lbfgs", "line_search_fn": "wolfe"}, "optimizer.line_search_fn"),
    ],
)
def test_settings_that_can_not_be_are_refused(settings, where):
    problems = []
    read_component("optimizer", settings, "optimizer", problems)
    assert [problem.where for problem in problems] == [where]


def test_nesterov_without_momentum_is_explained():
    problems = []
    read_component("optimizer", {"name": "sgd", "nesterov": True}, "optimizer", problems)
    assert "there is none" in problems[0].what
    assert "optimizer.momentum=0.9" in problems[0].instead
