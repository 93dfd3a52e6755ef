"""The learning rate that a step used against the one due: what an engine or a resume gets wrong is found and named."""

import json

import pytest
import torch

from bptrain.check.verdict import VERIFIED
from bptrain.errors import GradientsWrong
from bptrain.train.engine import Eager
from bptrain.train.fit import check, fit
from bptrain.train.record import Checked, Finished

COSINE = ["scheduler=cosine", "optimizer=sgd", "optimizer.lr=0.1", "fit.epochs=3", "fit.batch_size=50"]
PLATEAU = ["scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=9", "scheduler.factor=0.5"]
EACH, NEVER = "check.every=1", ["check.enabled=false", "check.every=null"]


class Rated(Eager):
    """Steps with a rate of its own choice, and leaves the group as it was."""

    def __init__(self, state, *args):
        super().__init__(state, *args)
        self.schedule, self.steps, self.held = state.schedule, 0, None

    def step(self, batches):
        groups = self.optimizer.param_groups
        due = [group["lr"] for group in groups]
        for group, rate in zip(groups, self.rates(due), strict=True):
            group["lr"] = rate
        loss = super().step(batches)
        for group, rate in zip(groups, due, strict=True):
            group["lr"] = rate
        self.steps += 1
        return loss


class Late(Rated):
    def rates(self, due):
        held, self.held = self.held or due, due
        return held


class Early(Rated):
    def rates(self, due):
        return self.schedule.due(self.steps + 1)


class Unscheduled(Rated):
    def rates(self, due):
        return self.schedule.base


class First(Rated):
    def rates(self, due):
        return self.schedule.due(0)


class Swapped(Rated):
    def rates(self, due):
        return due[::-1]


class Long(Rated):
    def rates(self, due):
        return [rate * (1 + 1e-9) for rate in due]


class OwnOptimizer(Eager):
    """Made its optimizer before the schedule had one."""

    def __init__(self, state, *args):
        super().__init__(state, *args)
        self.optimizer = torch.optim.SGD(self.parameters, lr=state.schedule.base[0])


class LateKernel(Eager):
    """Updates the weights itself, with the rate that it was given a step before."""

    held = None

    def step(self, batches):
        self._forget()
        loss, due = self._gradient(batches), self.optimizer.param_groups[0]["lr"]
        with torch.no_grad():
            for w in self.parameters:
                w -= (self.held or due) * w.grad
        self.held = due
        return loss


@pytest.mark.parametrize(
    ("engine", "overrides", "words"),
    [
        (Late, [], "group 0 in step 2 is 0.1, and 0.09330127019 is due: one step late"),
        (Late, ["scheduler=one_cycle"], "one step late"),
        (Late, ["scheduler=step", "scheduler.step_size=1", "optimizer=adam"], "in step 3 is 0.1, and 0.01 is due: one"),
        (Late, PLATEAU, "group 0 in step 5 is 0.1, and 0.05 is due: one step late"),
        (Late, ["scheduler=constant", "scheduler.warmup=1.5"], "in step 2 is 0.025, and 0.05 is due: one step late"),
        (Early, [], "group 0 in step 1 is 0.09330127019, and 0.1 is due: one step early"),
        (Unscheduled, ["scheduler=one_cycle"], "in step 1 is 0.1, and 0.004 is due: the base, without the schedule"),
        (First, ["scheduler=one_cycle", "check.every=2"], "and 0.08117456539 is due: that of the first step"),
        (Long, ["scheduler=constant"], "the learning rate of group 0 in step 1 is 0.1000000001, and 0.1 is due."),
        (OwnOptimizer, ["scheduler=one_cycle"], "in step 1 is 0.1, and 0.004 is due: the base, without the schedule"),
        (LateKernel, [], "in step 2 is 0.1, and 0.09330127019 is due: one step late."),
        (LateKernel, ["check.rows=5"], "in step 2 is 0.1, and 0.09330127019 is due: one step late."),
    ],
)
def test_a_rate_that_is_not_the_one_due_is_named_and_without_the_check_it_is_not_found(
    run_of, engine, overrides, words
):
    checks = []
    with pytest.raises(GradientsWrong) as caught:  # noqa: PT012 - what was yielded before it counts
        for record in fit(run_of(*COSINE, EACH, *overrides, engine=engine)):
            checks += [record.report] if isinstance(record, Checked) else []
    assert words in str(caught.value)
    assert "The step is wrong: the learning rate of" in str(caught.value)
    assert {report.verdict for report in checks[:-1]} <= {VERIFIED}
    assert {verdict for verdict, what, *_ in checks[-1].rows() if "learning rate" not in what} == {VERIFIED}
    assert isinstance(list(fit(run_of(*COSINE, *overrides, *NEVER, engine=engine)))[-1], Finished)


def grouped(run_of, engine=None):
    """A run whose head has a rate of its own."""
    run = run_of(*COSINE)
    head, (first, *_) = [*run.state.model.head.parameters()], run.state.model.layers
    groups = [{"params": [*first.parameters()], "lr": 0.1}, {"params": head, "lr": 0.01}]
    run.state.optimizer = torch.optim.Adam(groups)
    run.state.schedule = run.settings.scheduler.build(run.state.optimizer, run.total_steps, run.steps_per_epoch)
    run.engine = (engine or Eager)(run.state, run.loss, run.dataset.parts["train"], None, run.casts)
    return run


def test_the_rate_of_another_group_is_named(batches, run_of, said):
    run = grouped(run_of)
    report = check(run, batches, run.engine.step).report
    assert report.verdict == VERIFIED
    assert "2 learning rates" in report.summary()
    words = said(grouped(run_of, Swapped))
    assert "group 0 in step 1 is 0.01, and 0.1 is due: that of group 1; " in words
    assert "group 1 in step 1 is 0.1, and 0.01 is due: that of group 0." in words


class Partly(Eager):
    """Schedules the first group alone."""

    def step(self, batches):
        self.optimizer.param_groups[1]["lr"] = 0.01
        return super().step(batches)


def test_a_group_that_is_left_out_of_the_schedule_is_named_alone(batches, run_of, said):
    run = grouped(run_of, Partly)
    assert check(run, batches, run.engine.step).report.verdict == VERIFIED
    run.state.schedule.step()
    run.state.step += 1
    words = said(run)
    assert "group 1 in step 2 is 0.01, and 0.009330127019 is due: one step late" in words
    assert "group 0" not in words


def test_a_resume_that_forgets_the_schedule_is_found(batches, run_of, said):
    run = run_of(*COSINE)
    for _ in range(3):
        run.engine.step(batches)
        run.state.schedule.step()
        run.state.step += 1

    def resumed(*kept):
        again = run_of(*COSINE)
        again.state.step = 3
        for name in kept:
            getattr(again.state, name).load_state_dict(getattr(run.state, name).state_dict())
        return again

    whole = resumed("optimizer", "schedule")
    for _ in range(3):
        assert check(whole, batches, whole.engine.step).report.verdict == VERIFIED
        whole.state.schedule.step()
        whole.state.step += 1
    assert "group 0 in step 4 is 0.1, and 0.05 is due: the base, without the schedule" in said(resumed())
    again = resumed("optimizer")
    # The optimizer has the rate of this step, ...
    assert check(again, batches, again.engine.step).report.verdict == VERIFIED
    again.state.schedule.step()
    again.state.step += 1
    assert "group 0 in step 5 is 0.09330127019, and 0.025 is due." in said(again)  # ... but nobody that of the next


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    "scheduler",
    [
        ["constant"],
        ["constant", "scheduler.warmup=1"],
        ["step", "scheduler.step_size=1", "scheduler.warmup=0.5"],
        ["cosine", "scheduler.eta_min=0.01"],
        ["one_cycle"],
        ["plateau", *PLATEAU[1:], "scheduler.warmup=1"],
    ],
    ids=" ".join,
)
def test_every_step_of_every_schedule_is_verified(run_of, scheduler, optimizer):
    overrides = [f"scheduler={scheduler[0]}", *scheduler[1:], f"optimizer={optimizer}", "fit.epochs=3"]
    run = run_of(*overrides, "fit.batch_size=20", EACH)
    checks = [record for record in fit(run) if isinstance(record, Checked)]
    assert [record.report.verdict for record in checks] == [VERIFIED] * run.total_steps
    rates = {record.report.rates[0].used for record in checks}
    assert len(rates) == 1 if scheduler == ["constant"] else len(rates) >= 3


def test_a_rate_kept_in_a_float32_tensor_may_be_rounded_and_no_more(batches, run_of, said):
    def kept(factor):
        run = run_of(*COSINE, "optimizer.lr=0.3")
        run.state.optimizer.param_groups[0]["lr"] = torch.tensor(0.3 * factor)
        return run

    run = kept(1)
    assert check(run, batches, run.engine.step).report.verdict == VERIFIED
    assert "the learning rate of group 0" in said(kept(1 + 1e-6))


def test_the_certificate_has_the_rates(batches, run_of):
    run = run_of(*COSINE)
    run.state.step = 2
    (rate,) = json.loads(json.dumps(check(run, batches, run.engine.step).report.to_json(), allow_nan=False))["rates"]
    assert (rate["group"], rate["step"], rate["used"], rate["verdict"]) == (0, 2, 0.1, "wrong")
    assert (rate["due"], rate["error"]) == (pytest.approx(0.075), pytest.approx(1 / 3))
    assert rate["fault"] == "the base, without the schedule"
