"""Settings of optimizers: names, ranges and defaults of torch or scipy, and what is refused."""

import inspect

import pytest
import scipy.optimize
import torch

from bptrain.config.component import components
from bptrain.config.read import read_component
from bptrain.errors import RequestError
from bptrain.optimizers.muon import Muon
from bptrain.optimizers.quasi_newton import BFGS

OPTIMIZERS = components("optimizer")


def test_full_batch_and_closure_are_said():
    flags = {name: (optimizer.full_batch, optimizer.closure) for name, optimizer in OPTIMIZERS.items()}
    assert {name for name, (full, _) in flags.items() if full} == {"gd", "lbfgs", "rprop", "bfgs", "cg"}
    assert {name for name, (_, closure) in flags.items() if closure} == {"lbfgs", "bfgs", "cg"}


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"gd", "delta", "bfgs", "cg"}))
def test_settings_have_the_names_and_defaults_of_torch(name):
    optimizer = OPTIMIZERS[name]
    parameters = inspect.signature(getattr(torch.optim, optimizer.__name__)).parameters
    own = {key: value for key, value in vars(optimizer()).items() if not key.startswith("adamw_")}
    assert own == {key: parameters[key].default for key in own}


def test_bfgs_and_cg_have_the_names_and_defaults_of_scipy():
    for name in ("bfgs", "cg"):
        known = inspect.signature(getattr(scipy.optimize._optimize, f"_minimize_{name}")).parameters
        assert vars(OPTIMIZERS[name]()) == {key: known[key].default for key in ("gtol", "c1", "c2")}


def test_muon_without_a_matrix_is_refused():
    with pytest.raises(RequestError, match=r"has none.*adamw"):
        Muon().build([torch.nn.Parameter(torch.zeros(3))])


def test_bfgs_says_what_too_many_weights_would_take():
    with pytest.raises(RequestError, match=r"5,001 x 5,001 numbers, 0\.2 GB.*lbfgs or cg"):
        BFGS().build([torch.nn.Parameter(torch.zeros(3, 1667))])


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
        ({"name": "muon", "ns_coefficients": [1.0, 2.0]}, "optimizer.ns_coefficients"),
        ({"name": "adafactor", "eps": [None]}, "optimizer.eps"),
        ({"name": "adafactor", "d": 0.5}, "optimizer.d"),
        ({"name": "rprop", "etas": [1.2, 0.5]}, "optimizer.etas"),
        ({"name": "rprop", "step_sizes": [50, 1e-6]}, "optimizer.step_sizes"),
        ({"name": "cg", "c1": 0.5}, "optimizer.c1"),
        ({"name": "bfgs", "lr": 0.5}, "optimizer.lr"),
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
