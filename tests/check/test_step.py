"""check_step: a whole step against the same step by hand: optimizer, buffers, closures, precision."""

import json

import pytest
import torch
from torch import nn

from bptrain.check.verdict import UNVERIFIED, VERIFIED
from bptrain.train.engine import Eager, LineSearch
from bptrain.train.fit import check

TANH = ["model/activation=tanh", "model.norm=batch"]


class Undecayed(torch.optim.SGD):
    """Takes a weight decay, and forgets it."""

    def step(self, closure=None):
        decay = self.param_groups[0]["weight_decay"]
        self.param_groups[0]["weight_decay"] = 0
        super().step(closure)
        self.param_groups[0]["weight_decay"] = decay


def test_a_weight_decay_that_an_optimizer_forgets_is_named(run_of, said):
    run = run_of()
    optimizer = run.state.optimizer = Undecayed(run.state.model.parameters(), lr=0.001, weight_decay=0.3)
    run.engine.optimizer = optimizer
    assert "The update of Undecayed is wrong" in (words := said(run))
    assert "as if weight_decay were 0" in words


@pytest.mark.parametrize("base", [torch.optim.SGD, torch.optim.LBFGS])
def test_an_optimizer_that_calls_the_step_of_its_base_makes_one_step(batches, run_of, base):
    class Derived(base):
        def step(self, closure=None):
            return super().step(closure)

    run = run_of(*TANH, "optimizer=lbfgs" if base is torch.optim.LBFGS else "optimizer=sgd")
    base(run.state.model.parameters())  # torch hooks the step of a class when it makes the first of it
    run.engine.optimizer = run.state.optimizer = Derived(run.state.model.parameters(), lr=run.settings.optimizer.lr)
    report = check(run, batches, run.engine.step).report
    assert report.verdict == VERIFIED
    assert len(report.buffers) == 3


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
def test_running_statistics_that_are_wrong_are_named(run_of, said, kind, name):
    run = run_of(*TANH)
    run.state.model.get_submodule("layers.0.norm").__class__ = kind
    assert f"The step is wrong: buffers {name}" in said(run)


def test_a_buffer_that_the_engine_leaves_stale_is_named(batches, run_of, said):
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
            assert check(run, batches, run.engine.step).report.verdict == VERIFIED
            assert run.state.model.passes == len(batches)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_running_statistics_are_followed_over_several_batches_and_steps(batches, run_of, momentum):
    run = run_of(*TANH, "optimizer=sgd")
    run.state.model.get_submodule("layers.0.norm").momentum = momentum
    for _ in range(3):
        report = check(run, batches, run.engine.step).report
        assert report.verdict == VERIFIED
        assert len(report.buffers) == 3


CLOSURE = ["optimizer=lbfgs", "optimizer.max_iter=4", *TANH]


def test_each_evaluation_of_a_closure_is_compared(batches, run_of, said):
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

    run = run_of(*CLOSURE)
    report = check(run, batches, run.engine.step).report
    assert report.verdict == VERIFIED
    assert len(report.buffers) == 3
    assert "the gradients of layers.0.linear.weight" in said(run_of(*CLOSURE, engine=Late))
    assert "the loss that the engine gives is off by" in said(run_of(*CLOSURE, engine=Higher))
    assert "the gradients of the step before were kept" in said(run_of(*CLOSURE, engine=Kept))


def test_a_line_search_is_judged_where_rounding_could_have_gone_another_way(run_of):
    run = run_of("optimizer=lbfgs", "optimizer.line_search_fn=strong_wolfe", "seed=1")
    verdicts = [check(run, [torch.arange(96)], run.engine.step).report.update.verdict for _ in range(4)]
    assert verdicts == [VERIFIED] * 4


def test_a_line_search_whose_way_rounding_decides_is_told_and_not_accused(run_of):
    """Where the loss stands still to the last digit, rounding multiplies by more than the reruns of it show."""
    words = ["optimizer=lbfgs", "optimizer.line_search_fn=strong_wolfe"]
    run, rows = run_of(*words, "seed=10"), [torch.arange(98)]
    reports = [check(run, rows, run.engine.step).report for _ in range(5)]
    assert all(report.ok for report in reports)
    report = reports[4]
    assert report.update.verdict == UNVERIFIED
    assert "evaluations goes; fewer (max_iter=5) can be compared." in report.summary()
    run = run_of(*words, "seed=10", "optimizer.max_iter=5")
    assert [check(run, rows, run.engine.step).report.verdict for _ in range(8)] == [VERIFIED] * 8


def test_an_update_with_a_closure_that_is_wrong_is_named(run_of, said):
    class Long(torch.optim.LBFGS):
        def step(self, closure):
            loss = super().step(closure)
            with torch.no_grad():
                self.param_groups[0]["params"][0].mul_(1.0001)
            return loss

    run = run_of(*CLOSURE)
    run.engine.optimizer = run.state.optimizer = Long(run.state.model.parameters(), lr=1, max_iter=4)
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
def test_right_steps_are_verified(batches, run_of, optimizer, precision):
    run = run_of(*optimizer, f"precision={precision}", "fit.clip=0.3", "model.dropout=0.2", *TANH)
    for _ in range(3):
        report = check(run, batches, run.engine.step).report
        assert report.verdict == VERIFIED, report
        assert report.update.verdict == VERIFIED
        assert len(report.stepped.parameters) == 5
        words = f"clip factor {report.stepped.factor:.4g}, 3 buffers, learning rate {run.settings.optimizer.lr:.4g}, "
        assert f"{words}update of " in report.summary()
        assert json.loads(json.dumps(report.to_json(), allow_nan=False))["clip"]["factor"] == report.stepped.factor


def test_gradients_that_autocast_adds_up_in_bf16_are_judged_as_they_are(batches, run_of):
    run = run_of("data=digits", "model=gru", "model.hidden=9", "precision=bf16")
    report = check(run, batches, run.engine.step).report
    assert report.verdict == VERIFIED
    assert max(error.error for error in report.stepped.parameters.values()) < 1e-6


def test_a_wrong_scale_of_a_thousandth_is_seen_under_bf16(run_of, said):
    class Long(Eager):
        def _gradient(self, batches):
            total = super()._gradient(batches)
            for parameter in self.parameters:
                parameter.grad *= 1.001
            return total

    assert "they are 1.001 times what they should be" in said(run_of("precision=bf16", engine=Long))


def test_with_a_part_of_the_rows_the_update_alone_is_compared_and_the_rest_is_said(batches, run_of):
    run = run_of("check.rows=4")
    report = check(run, batches, run.engine.step).report
    assert report.verdict == VERIFIED
    assert (report.loss, report.stepped, report.buffers) == (None, None, {})
    assert report.update.entries
    assert report.rates[0].error.verdict == VERIFIED
    assert "Not compared: loss, gradients of the step and buffers" in report.summary()


def test_an_optimizer_whose_update_is_not_known_is_said_to_be_unverified(batches, run_of):
    class Own(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {"lr": 0.001})

        def step(self):
            pass

    run = run_of()
    run.engine.optimizer = run.state.optimizer = Own(run.state.model.parameters())
    report = check(run, batches, run.engine.step).report
    assert report.verdict == UNVERIFIED
    assert "no update is written for Own" in report.summary()


def test_a_wrong_gradient_is_found_before_the_step_is_made(batches, run_of):
    run = run_of()
    run.state.model.head.register_full_backward_hook(lambda module, into, out: (into[0] * 1.01,))
    before = [parameter.clone() for parameter in run.state.model.parameters()]
    checked = check(run, batches, run.engine.step)
    assert checked.loss is None
    assert "Gradients are wrong" in checked.report.summary()
    assert all(map(torch.equal, before, run.state.model.parameters()))
