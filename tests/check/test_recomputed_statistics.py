"""Batch norm inside torch.utils.checkpoint: torch updates its statistics twice, which is no fault of the engine."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from bptrain.check.verdict import CONTRACT, VERIFIED
from bptrain.train.engine import Eager, LineSearch
from bptrain.train.fit import check

NAMES = ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
WORDS = "the recomputation of torch.utils.checkpoint updates the statistics a second time"


class Net(nn.Module):
    """Normalises once, or twice with the same module, in one checkpoint or in one for each."""

    def __init__(self, reentrant, norm=nn.BatchNorm1d, uses=1, apart=False, momentum=0.1):
        super().__init__()
        self.first, self.head = nn.Linear(4, 5), nn.Linear(5, 3)
        self.norm, self.middle = norm(5, momentum=momentum, affine=False), nn.Linear(5, 5, bias=False)
        self.reentrant, self.uses, self.apart = reentrant, uses, apart

    def part(self, h):
        return self.norm(h).tanh()

    def checkpointed(self, part, h):
        return part(h) if self.reentrant is None else checkpoint(part, h, use_reentrant=self.reentrant)

    def forward(self, x):
        h = self.first(x)
        if self.uses == 2 and not self.apart:
            return self.head(self.checkpointed(lambda h: self.part(3 * self.part(h) + 1), h))
        h = self.checkpointed(self.part, h)
        if self.uses == 2:
            h = self.checkpointed(self.part, self.middle(h))
        return self.head(h)


@pytest.fixture
def run_with(run_of):
    def run_with(model, engine=Eager, optimizer=torch.optim.SGD):
        words = ["optimizer=lbfgs", "optimizer.lr=0.1"] if engine is LineSearch else ["optimizer=sgd"]
        run = run_of(*words)
        run.state.model, parameters = model, model.parameters()
        run.state.optimizer = optimizer(parameters, lr=run.settings.optimizer.lr)
        run.engine = engine(run.state, run.loss, run.dataset.parts["train"])
        return run

    return run_with


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_statistics_that_the_recomputation_updates_again_are_torchs_contract(batches, run_with, reentrant, momentum):
    run = run_with(Net(reentrant, momentum=momentum))
    for step in range(1, 4):
        report = check(run, batches, run.engine.step).report
        assert report.ok
        assert report.verdict == CONTRACT
        again = [name for name, error in report.buffers.items() if error.verdict == CONTRACT]
        assert again == (NAMES if momentum or step > 1 else NAMES[2:])  # an average of all is that of all twice
        assert "Step contract: loss, " in report.summary()
        assert f" {', '.join(again)}: {WORDS}" in report.summary()
        assert ("contract", "3 buffers") in [row[:2] for row in report.rows()]
        assert WORDS in report.to_json()["buffers"]["norm.num_batches_tracked"]["fault"]
        assert run.state.model.norm.num_batches_tracked == 2 * len(batches) * step


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_one_module_used_twice_is_updated_again_in_the_order_of_its_recomputation(batches, run_with, reentrant, apart):
    run = run_with(Net(reentrant, uses=2, apart=apart))
    report = check(run, batches, run.engine.step).report
    assert report.verdict == CONTRACT
    assert report.buffers["norm.num_batches_tracked"].verdict == CONTRACT


@pytest.mark.parametrize("reentrant", [False, True])
def test_each_evaluation_of_a_closure_recomputes(batches, run_with, reentrant):
    run = run_with(Net(reentrant), LineSearch, torch.optim.LBFGS)
    assert check(run, batches, run.engine.step).report.verdict == CONTRACT
    assert run.state.model.norm.num_batches_tracked > 8


class Restoring(Eager):
    """Takes back what the recomputation did."""

    def _loss(self, batch):
        loss = super()._loss(batch)
        self.held = [buffer.clone() for buffer in self.model.norm.buffers()]
        return loss

    def step(self, batches):
        loss = super().step(batches)
        for buffer, value in zip(self.model.norm.buffers(), self.held, strict=True):
            buffer.copy_(value)
        return loss


class Looking(Eager):
    """Runs the model once more, to see the loss after the step."""

    def step(self, batches):
        loss = super().step(batches)
        self._loss(batches[0])
        return loss


class Frozen(Restoring):
    """Takes back all of it."""

    def step(self, batches):
        before = [buffer.clone() for buffer in self.model.norm.buffers()]
        loss = super().step(batches)
        for buffer, value in zip(self.model.norm.buffers(), before, strict=True):
            buffer.copy_(value)
        return loss


class Biased(nn.BatchNorm1d):
    """Keeps the variance over n, not over n - 1."""

    def forward(self, x):
        old = self.running_var.clone()
        y = super().forward(x)
        with torch.no_grad():
            self.running_var.data.copy_(torch.lerp(old, x.var(0, correction=0), self.momentum))
        return y


@pytest.mark.parametrize("reentrant", [False, True])
def test_statistics_that_an_engine_keeps_to_one_update_are_verified(run_with, reentrant):
    run = run_with(Net(reentrant), Restoring)
    report = check(run, [torch.arange(16)], run.engine.step).report
    assert report.verdict == VERIFIED


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("engine", [Looking, Frozen])
def test_statistics_after_neither_one_nor_two_updates_are_wrong(run_with, said, reentrant, engine):
    assert "The step is wrong: buffers norm.running_mean" in said(run_with(Net(reentrant), engine), [torch.arange(16)])


@pytest.mark.parametrize("reentrant", [False, True])
def test_statistics_that_the_module_gets_wrong_are_so_inside_a_checkpoint_too(run_with, said, reentrant):
    assert "The step is wrong: buffers norm.running_var" in said(run_with(Net(reentrant, Biased)))


def test_two_updates_without_a_checkpoint_are_wrong(run_with, said):
    """An engine that runs the same batch forward twice has no recomputation to blame."""

    class Twice(Eager):
        def _loss(self, batch):
            super()._loss(batch)
            return super()._loss(batch)

    assert "The step is wrong: buffers norm.running_mean" in said(run_with(Net(None), Twice))
    assert "buffers norm.running_mean" in said(run_with(Net(False), Twice))
