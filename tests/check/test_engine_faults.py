"""Faults of an engine: what it does wrong between the loss and the gradients that it leaves is named."""

import pytest
import torch
from torch import nn

from bptrain.check.verdict import VERIFIED
from bptrain.train.engine import Eager
from bptrain.train.fit import check


class Uneven(Eager):
    """Forgets that a batch of b of n rows counts b/n."""

    def _gradient(self, batches):
        for batch in batches:
            (self._loss(batch) / len(batches)).backward()
        return sum(self._loss(batch).detach() * len(batch) for batch in batches) / sum(map(len, batches))


class Summed(Eager):
    def _gradient(self, batches):
        total = super()._gradient(batches)
        for parameter in self.parameters:
            parameter.grad *= len(batches)
        return total


class LastBatch(Eager):
    def _gradient(self, batches):
        total = super()._gradient(batches)
        self._forget()
        (self._loss(batches[-1]) * (len(batches[-1]) / sum(map(len, batches)))).backward()
        return total


class Scaled(Eager):
    """Scales the loss and forgets to unscale the gradients."""

    def _loss(self, batch):
        return super()._loss(batch) * 1024

    def step(self, batches):
        return super().step(batches) / 1024


class Keeping(Eager):
    """Never sets a gradient to zero."""

    def _forget(self):
        pass


class Sum(Eager):
    """Gives the sum over the rows for the mean."""

    def step(self, batches):
        return super().step(batches) * sum(map(len, batches))


class Unclipped(Eager):
    def _gradient(self, batches):
        clip, self.clip = self.clip, None
        total = super()._gradient(batches)
        self.clip = clip
        return total


class ClippedAlone(Unclipped):
    def _gradient(self, batches):
        total = super()._gradient(batches)
        for parameter in self.parameters:
            nn.utils.clip_grad_norm_(parameter, self.clip)
        return total


class ClippedShort(Eager):
    """By a factor that is 0.01 % too small."""

    def _gradient(self, batches):
        total = super()._gradient(batches)
        for parameter in self.parameters:
            parameter.grad *= 0.9999
        return total


class Still(Eager):
    def step(self, batches):
        self._forget()
        return self._gradient(batches)


@pytest.mark.parametrize(
    ("engine", "overrides", "words"),
    [
        (Uneven, [], "each batch counts the same, whatever its rows"),
        (Summed, [], "2 times what they should be"),
        (LastBatch, ["model.norm=layer"], "the last batch alone counts"),
        (Scaled, [], "they are 1024 times what they should be"),
        (Sum, [], "the loss that the engine gives is off by 1.5e+01"),
        (Unclipped, ["fit.clip=0.1"], "they were not clipped; the clip factor"),
        (ClippedAlone, ["fit.clip=0.1"], "each parameter was clipped by itself"),
        (ClippedShort, ["fit.clip=0.1"], "0.9999 times what they should be; the clip factor, which is 0."),
        (Still, ["optimizer=sgd"], "The update of SGD is wrong"),
    ],
)
def test_a_fault_of_an_engine_is_named(run_of, said, engine, overrides, words):
    assert words in said(run_of(*overrides, engine=engine))


def test_gradients_of_the_step_before_that_were_kept_are_named(batches, run_of, said):
    run = run_of("fit.clip=0.5", engine=Keeping)
    assert check(run, batches, run.engine.step).report.verdict == VERIFIED
    assert "the gradients of the step before were kept" in said(run, [torch.arange(7)])


def test_a_margin_that_the_clip_factor_forgets_shows_where_the_gradient_is_small(batches, run_of, said):
    class Marginless(Eager):
        """Clips by max_norm / norm, without the 1e-6."""

        def _gradient(self, batches):
            clip, self.clip = self.clip, None
            total = super()._gradient(batches)
            self.clip = clip
            norm = torch.cat([p.grad.reshape(-1) for p in self.parameters]).norm()
            for p in self.parameters:
                p.grad *= clip / norm
            return total

    class Small(nn.CrossEntropyLoss):
        def forward(self, outputs, targets):
            return super().forward(outputs, targets) / 1000

    small = run_of("fit.clip=1e-5", engine=Marginless)
    small.loss = small.engine.loss = Small()
    assert "the clip factor, which is" in said(small)
    large = run_of("fit.clip=1e-2", engine=Marginless)
    assert check(large, batches, large.engine.step).report.verdict == VERIFIED
