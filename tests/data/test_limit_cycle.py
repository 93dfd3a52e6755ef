"""Trajectories of the Van der Pol oscillator."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from bptrain.data.limit_cycle import LimitCycle
from bptrain.errors import RequestError


def test_a_trajectory_is_that_of_scipy():
    part = LimitCycle(examples=4, points=3, interval=0.7, mu=1.5).load(3).parts["train"]
    for start, values in zip(part.inputs.double().numpy(), part.targets.numpy(), strict=True):
        slope = lambda t, s: [s[1], 1.5 * (1 - s[0] ** 2) * s[1] - s[0]]  # noqa: E731
        expected = solve_ivp(slope, (0, 2.1), start, t_eval=[0.7, 1.4, 2.1], rtol=1e-10, atol=1e-12).y.T
        np.testing.assert_allclose(values.reshape(3, 2), expected, atol=2e-6)


def test_it_ends_on_the_cycle_whatever_the_start():
    parts = LimitCycle(examples=9, points=100, interval=0.3).load(0).parts
    x = torch.cat([part.targets for part in parts.values()]).reshape(9, 100, 2)[:, 60:, 0]
    assert x.abs().max(1).values == pytest.approx(torch.full((9,), 2.0), abs=0.03)  # the amplitude is 2.009


def test_the_seed_alone_makes_it():
    one, same, other = (LimitCycle(examples=5, points=2).load(seed).fingerprint for seed in (1, 1, 2))
    assert one == same != other


def test_what_takes_too_much_is_refused():
    with pytest.raises(RequestError, match=r"data\.points"):
        LimitCycle(examples=2**20, points=2**16)
