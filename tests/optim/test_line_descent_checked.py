"""The step check on BFGS and CG: verified as they are, and faults planted in them found."""

import pytest
import torch
from torch.nn import Parameter

import bptrain
from bptrain.optim.bfgs import BFGS
from bptrain.optim.cg import CG
from bptrain.optim.muon import MuonAdamW


def weights(dtype=torch.float32):
    torch.manual_seed(0)
    return [Parameter(torch.randn(shape, dtype=torch.float64).to(dtype)) for shape in ((4, 3), (5,))]


class Steepest(BFGS):
    def direction(self, kept, g):
        return -g


class Unsymmetric(BFGS):
    def moved(self, kept, d, here, there):
        h, s, y = kept["H"], there.t * d, there.gradient - here.gradient
        u, r = h @ y, 1 / y.dot(s)
        return {"H": h - r * torch.outer(s, u) + (r * r * y.dot(u) + r) * torch.outer(s, s)}


class FletcherReeves(CG):
    def moved(self, kept, d, here, there):
        beta = there.gradient.dot(there.gradient) / here.gradient.dot(here.gradient)
        return {"d": beta * d - there.gradient}


class TooLong(CG):
    """Goes four times as far as the search says."""

    def step(self, closure):
        before = [p.detach().clone() for p in self.parameters]
        loss = super().step(closure)
        with torch.no_grad():
            for p, old in zip(self.parameters, before, strict=True):
                p.copy_(old + 4 * (p - old))
        self.state[self.parameters[0]]["t"] *= 4
        return loss


class TooShort(BFGS):
    """The state says another length than that of the step."""

    def step(self, closure):
        loss = super().step(closure)
        self.state[self.parameters[0]]["t"] *= 0.9
        return loss


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", [BFGS, CG, MuonAdamW])
def test_they_are_verified(kind, dtype):
    report = bptrain.check_optimizer(kind(weights(dtype)), steps=5)
    assert report.verdict == "verified", report
    assert max(report.ulps.values()) < (50 if kind is MuonAdamW else 4)


@pytest.mark.parametrize(
    ("kind", "entry", "step", "words"),
    [
        (Steepest, "parameter", 2, ""),
        (Unsymmetric, "H", 1, ""),
        (FletcherReeves, "d", 1, ""),
        (TooLong, "t", 1, "than c1 asks for|more than c2 leaves"),
        (TooShort, "parameter", 1, "1.11 times"),
    ],
)
def test_a_fault_is_found(kind, entry, step, words):
    report = bptrain.check_optimizer(kind(weights()), steps=3)
    assert report.verdict == "wrong"
    found = {(e.entry, e.step): e.fault for e in report.culprits}
    assert (entry, step) in found, report
    assert any(word in found[entry, step] for word in words.split("|")), report


def test_a_next_direction_that_hardly_descends_is_found():
    """A point where the Wolfe conditions hold, and with them nothing else: what is allowed there is left out."""
    free = type("Free", (CG,), {"allows": lambda *_: True})
    reports = []
    for seed in range(40):
        torch.manual_seed(seed)
        made = free([Parameter(3 * torch.randn(2, dtype=torch.float64))], c2=0.9, gtol=0.0)
        reports.append(bptrain.check_optimizer(made, steps=3, seed=seed))
    faults = {e.fault.split(" of ")[0] for report in reports for e in report.culprits if e.entry == "t"}
    assert faults == {"the next direction has a slope"}
