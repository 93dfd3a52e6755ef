"""check_step: a whole step against the same step by hand, and each fault that one can have."""

import json

import pytest
import torch
from torch import nn

from bptrain.check.verdict import UNVERIFIED, VERIFIED, WRONG
from bptrain.config.compose import compose, settings_of
from bptrain.errors import GradientsWrong
from bptrain.train.engine import Eager, LineSearch
from bptrain.train.fit import check
from bptrain.train.run import build

BATCHES = [torch.arange(5), torch.arange(5, 16)]  # accumulated, of unequal sizes
TANH = ["model/activation=tanh", "model.norm=batch"]


def run_of(*overrides, engine=None):
    """A small run, its engine one of another class."""
    sizes = [] if "model=gru" in overrides else ["model.sizes=[5]"]
    run = build(settings_of(compose(["data=iris", *sizes, *overrides])))
    if engine is not None:
        run.engine = engine(run.state, run.loss, run.dataset.parts["train"], run.settings.fit.clip, run.casts)
    return run


def said(run, batches=BATCHES):
    """What the check of a step says that is wrong."""
    report = check(run, batches).report
    assert report.verdict == WRONG
    with pytest.raises(GradientsWrong):
        report.raise_if_wrong()
    return report.summary()


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
def test_a_fault_of_an_engine_is_named(engine, overrides, words):
    assert words in said(run_of(*overrides, engine=engine))


def test_gradients_of_the_step_before_that_were_kept_are_named():
    run = run_of("fit.clip=0.5", engine=Keeping)
    assert check(run, BATCHES).report.verdict == VERIFIED
    assert "the gradients of the step before were kept" in said(run, [torch.arange(7)])


def test_a_margin_that_the_clip_factor_forgets_shows_where_the_gradient_is_small():
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
    assert check(large, BATCHES).report.verdict == VERIFIED


class Undecayed(torch.optim.SGD):
    """Takes a weight decay, and forgets it."""

    def step(self, closure=None):
        decay = self.param_groups[0]["weight_decay"]
        self.param_groups[0]["weight_decay"] = 0
        super().step(closure)
        self.param_groups[0]["weight_decay"] = decay


def test_a_weight_decay_that_an_optimizer_forgets_is_named():
    run = run_of()
    optimizer = run.state.optimizer = Undecayed(run.state.model.parameters(), lr=0.1, weight_decay=0.3)
    run.engine.optimizer = optimizer
    assert "The update of Undecayed is wrong" in (words := said(run))
    assert "as if weight_decay were 0" in words


class Biased(nn.BatchNorm1d):
    """Keeps the variance over n, not over n - 1."""

    def forward(self, x):
        old = self.running_var.clone()
        y = super().forward(x)
        with torch.no_grad():
            self.running_var.data.copy_(torch.lerp(old, x.var(0, correction=0), self.momentum))
        return y


class Uncounted(nn.BatchNorm1d):
    """Never counts its batches."""

    def forward(self, x):
        y = super().forward(x)
        self.num_batches_tracked -= 1
        return y


@pytest.mark.parametrize(
    ("kind", "name"), [(Biased, "layers.0.norm.running_var"), (Uncounted, "layers.0.norm.num_batches_tracked")]
)
def test_running_statistics_that_are_wrong_are_named(kind, name):
    run = run_of(*TANH)
    run.state.model.get_submodule("layers.0.norm").__class__ = kind
    assert f"The step is wrong: buffers {name}" in said(run)


def test_a_buffer_that_the_engine_leaves_stale_is_named():
    class Stale(Eager):
        def step(self, batches):
            held = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
            loss = super().step(batches)
            for name, buffer in self.model.named_buffers():
                buffer.copy_(held[name])
            return loss

    assert "buffers layers.0.norm.running_mean" in said(run_of(*TANH, engine=Stale))

    def count(module, *_):
        module.passes += 1

    for engine in (Eager, Stale):
        run = run_of(engine=engine)
        run.state.model.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        run.state.model.register_forward_hook(count)
        if engine is Stale:
            assert "buffers passes" in said(run)
        else:
            assert check(run, BATCHES).report.verdict == VERIFIED
            assert run.state.model.passes == len(BATCHES)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_running_statistics_are_followed_over_several_batches_and_steps(momentum):
    run = run_of(*TANH, "optimizer=sgd")
    run.state.model.get_submodule("layers.0.norm").momentum = momentum
    for _ in range(3):
        report = check(run, BATCHES).report
        assert report.verdict == VERIFIED
        assert len(report.buffers) == 3


CLOSURE = ["optimizer=lbfgs", "optimizer.max_iter=4", *TANH]


def test_each_evaluation_of_a_closure_is_compared():
    class Late(LineSearch):
        """Gets the gradient of all evaluations but the first wrong."""

        calls = 0

        def _gradient(self, batches):
            total = super()._gradient(batches)
            self.calls += 1
            if self.calls > 1:
                self.parameters[0].grad *= 1.01
            return total

    class Higher(Late):
        """Gets the loss of all evaluations but the first wrong."""

        def _gradient(self, batches):
            self.calls += 1
            return Eager._gradient(self, batches) + (self.calls > 1)

    class Kept(LineSearch):
        def _forget(self):
            pass

    report = check(run_of(*CLOSURE), BATCHES).report
    assert report.verdict == VERIFIED
    assert len(report.buffers) == 3
    assert "the gradients of layers.0.linear.weight" in said(run_of(*CLOSURE, engine=Late))
    assert "the loss that the engine gives is off by" in said(run_of(*CLOSURE, engine=Higher))
    assert "the gradients of the step before were kept" in said(run_of(*CLOSURE, engine=Kept))


def test_a_line_search_is_judged_where_rounding_could_have_gone_another_way():
    run = run_of("optimizer=lbfgs", "optimizer.line_search_fn=strong_wolfe", "seed=1")
    verdicts = [check(run, [torch.arange(96)]).report.update.verdict for _ in range(4)]
    assert verdicts == [VERIFIED] * 4


def test_an_update_with_a_closure_that_is_wrong_is_named():
    class Long(torch.optim.LBFGS):
        def step(self, closure):
            loss = super().step(closure)
            with torch.no_grad():
                self.param_groups[0]["params"][0].mul_(1.0001)
            return loss

    run = run_of(*CLOSURE)
    run.engine.optimizer = run.state.optimizer = Long(run.state.model.parameters(), lr=0.1, max_iter=4)
    assert "The update of Long is wrong" in said(run)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "optimizer",
    [
        ["optimizer=adam"],
        ["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true", "optimizer.weight_decay=0.1"],
        ["optimizer=lbfgs", "optimizer.line_search_fn=strong_wolfe", "optimizer.max_iter=3"],
    ],
)
def test_right_steps_are_verified(optimizer, precision):
    run = run_of(*optimizer, f"precision={precision}", "fit.clip=0.3", "model.dropout=0.2", *TANH)
    for _ in range(3):
        report = check(run, BATCHES).report
        assert report.verdict == VERIFIED, report
        assert report.update.verdict == VERIFIED
        assert len(report.stepped.parameters) == 5
        assert f"clip factor {report.stepped.factor:.4g}, 3 buffers, update of " in report.summary()
        assert json.loads(json.dumps(report.to_json(), allow_nan=False))["clip"]["factor"] == report.stepped.factor


def test_gradients_that_autocast_adds_up_in_bf16_are_judged_as_they_are():
    run = run_of("data=digits", "model=gru", "model.hidden=9", "precision=bf16")
    report = check(run, BATCHES).report
    assert report.verdict == VERIFIED
    assert max(error.error for error in report.stepped.parameters.values()) < 1e-6


def test_a_wrong_scale_of_a_thousandth_is_seen_under_bf16():
    class Long(Eager):
        def _gradient(self, batches):
            total = super()._gradient(batches)
            for parameter in self.parameters:
                parameter.grad *= 1.001
            return total

    assert "they are 1.001 times what they should be" in said(run_of("precision=bf16", engine=Long))


def test_with_a_part_of_the_rows_the_update_alone_is_compared_and_the_rest_is_said():
    report = check(run_of("check.rows=4"), BATCHES).report
    assert report.verdict == VERIFIED
    assert (report.loss, report.stepped, report.buffers) == (None, None, {})
    assert report.update.entries
    assert "Not compared: loss, gradients of the step and buffers" in report.summary()


def test_an_optimizer_whose_update_is_not_known_is_said_to_be_unverified():
    class Own(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {"lr": 0.1})

        def step(self):
            pass

    run = run_of()
    run.engine.optimizer = run.state.optimizer = Own(run.state.model.parameters())
    report = check(run, BATCHES).report
    assert report.verdict == UNVERIFIED
    assert "no update is written for Own" in report.summary()


def test_a_wrong_gradient_is_found_before_the_step_is_made():
    run = run_of()
    run.state.model.head.register_full_backward_hook(lambda module, into, out: (into[0] * 1.01,))
    before = [parameter.clone() for parameter in run.state.model.parameters()]
    checked = check(run, BATCHES)
    assert checked.loss is None
    assert "Gradients are wrong" in checked.report.summary()
    assert all(map(torch.equal, before, run.state.model.parameters()))
