"""Schedules against closed forms and torch's own."""

import json
import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from bptrain.config.component import components
from bptrain.schedulers import Constant, Cosine, OneCycle, Plateau, Scheduler, Step

TOTAL, PER_EPOCH = 24, 4


def optimizer(*rates):
    rates = rates or (0.5,)
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(2))], "lr": lr} for lr in rates])


def rates(scheduler, steps=TOTAL, total=TOTAL, bases=(0.5,)):
    """The rates that each step is made with, those of one group as numbers; `due` says the same of any step."""
    made = optimizer(*bases)
    schedule = scheduler.build(made, total, PER_EPOCH)
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in made.param_groups])
        made.step()
        schedule.step()
    assert [schedule.due(t) for t in range(steps)] == found
    return found if len(bases) > 1 else [rate for (rate,) in found]


def torchs(make, total, bases):
    """The rates of one of torch's schedulers, made of an optimizer and the number of steps."""
    made = optimizer(*bases)
    scheduler, found = make(made, total), []
    for t in range(total):
        found.append([group["lr"] for group in made.param_groups])
        made.step()
        if t < total - 1:  # beyond the last step one_cycle refuses
            scheduler.step()
    return found


def rise(made, steps):
    """torch's form of the warm-up."""
    return lr_scheduler.LinearLR(made, 1 / (steps + 1), total_iters=steps)


def after(made, steps, scheduler):
    """One of torch's schedulers after a warm-up."""
    return lr_scheduler.SequentialLR(made, [rise(made, steps), scheduler], [steps])


def one_cycle(made, total, **options):
    top = [group["lr"] for group in made.param_groups]
    return lr_scheduler.OneCycleLR(made, top, total_steps=total, cycle_momentum=False, **options)


CYCLES = [
    {"pct_start": share, "anneal_strategy": strategy, **factors}
    for share in (0.0, 0.3, 0.55, 0.9)
    for strategy in ("cos", "linear")
    for factors in ({}, {"div_factor": 10.0, "final_div_factor": 100.0}, {"div_factor": 1.0, "final_div_factor": 1.0})
]
# Ours beside torch's of an optimizer and a number of steps.
SAME = [
    (Constant(), lambda o, n: lr_scheduler.ConstantLR(o, 1.0)),
    (Constant(warmup=1.0), lambda o, n: rise(o, 4)),
    (Constant(warmup=2.6), lambda o, n: rise(o, 10)),
    (Step(step_size=1, gamma=0.5), lambda o, n: lr_scheduler.StepLR(o, 4, 0.5)),
    (Step(step_size=2, gamma=0.2), lambda o, n: lr_scheduler.StepLR(o, 8, 0.2)),
    (Step(), lambda o, n: lr_scheduler.StepLR(o, 120)),
    (
        Step(step_size=2, gamma=0.2, warmup=3.0),
        lambda o, n: lr_scheduler.ChainedScheduler([rise(o, 12), lr_scheduler.StepLR(o, 8, 0.2)]),
    ),
    (Cosine(), lambda o, n: lr_scheduler.CosineAnnealingLR(o, n)),
    (Cosine(eta_min=0.1), lambda o, n: lr_scheduler.CosineAnnealingLR(o, n, 0.1)),
    (Cosine(warmup=1.0), lambda o, n: after(o, 4, lr_scheduler.CosineAnnealingLR(o, n - 4))),
    (Cosine(eta_min=0.1, warmup=2.5), lambda o, n: after(o, 10, lr_scheduler.CosineAnnealingLR(o, n - 10, 0.1))),
    *((OneCycle(**options), lambda o, n, options=options: one_cycle(o, n, **options)) for options in CYCLES),
    *(
        (OneCycle(warmup=1.5, **options), lambda o, n, options=options: after(o, 6, one_cycle(o, n - 6, **options)))
        for options in CYCLES
        if options["pct_start"]  # without a rise torch warms up to base / div_factor, from where there is a jump
    ),
]


@pytest.mark.parametrize("total", [TOTAL, 25, 61, 250])
@pytest.mark.parametrize(
    ("scheduler", "make"), SAME, ids=lambda value: str(value) if isinstance(value, Scheduler) else ""
)
def test_each_step_of_each_group_is_made_with_torchs_rate(scheduler, make, total):
    bases = (0.5, 0.07)  # below eta_min, a cosine rises
    assert np.array(rates(scheduler, total, total, bases)) == pytest.approx(
        np.array(torchs(make, total, bases)), rel=1e-11, abs=1e-17
    )


def test_every_option_of_every_scheduler_is_compared_with_torchs():
    compared = [scheduler for scheduler, _ in SAME] + [Plateau(**options) for options in PLATEAUS]
    for kind in components("scheduler").values():
        for option in fields(kind):
            values = {getattr(scheduler, option.name) for scheduler in compared if type(scheduler) is kind}
            assert values > {option.default}, f"{kind.__name__}.{option.name}"


def test_constant_leaves_the_rate_and_touches_nothing():
    made = optimizer()
    schedule = Constant().build(made, TOTAL, PER_EPOCH)
    made.param_groups[0]["lr"] = 0.3
    schedule.step()
    schedule.evaluated(1.0)
    assert made.param_groups[0]["lr"] == 0.3
    assert schedule.state_dict() == {}


def test_warm_up_rises_in_a_line_from_near_zero():
    assert rates(Constant(warmup=1.0), 6) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    assert rates(Constant(warmup=0.5), 4) == pytest.approx([0.5 / 3, 1 / 3, 0.5, 0.5])


def test_step_drops_after_so_many_epochs():
    assert rates(Step(step_size=2, gamma=0.2)) == pytest.approx([0.5] * 8 + [0.1] * 8 + [0.02] * 8)


def test_warm_up_of_a_step_schedule_multiplies_it():
    expected = [0.5 / 13 * (t + 1) * 0.2 ** (t // 8) for t in range(12)]
    assert rates(Step(step_size=2, gamma=0.2, warmup=3.0), 12) == pytest.approx(expected)


def test_cosine_is_half_a_cosine_to_its_end():
    expected = [0.1 + 0.2 * (1 + math.cos(math.pi * t / TOTAL)) for t in range(TOTAL)]
    assert rates(Cosine(eta_min=0.1)) == pytest.approx(expected)


def test_cosine_starts_after_the_warm_up():
    expected = [0.5 * (t + 1) / 5 for t in range(4)]
    expected += [0.25 * (1 + math.cos(math.pi * t / (TOTAL - 4))) for t in range(TOTAL - 4)]
    assert rates(Cosine(warmup=1.0)) == pytest.approx(expected)


def test_after_its_end_a_schedule_stays_where_it_ended():
    assert rates(Cosine(eta_min=0.1), TOTAL + 3)[TOTAL:] == pytest.approx([0.1] * 3)
    ours = OneCycle(div_factor=10, final_div_factor=100)
    assert rates(ours, TOTAL + 2)[TOTAL:] == pytest.approx([0.5 / 1000] * 2)


@pytest.mark.parametrize("total", [1, 2, 10])
def test_one_cycle_takes_trainings_of_any_length(total):
    made = optimizer()
    schedule = OneCycle(pct_start=0.1).build(made, total, 1)
    for _ in range(total + 1):
        assert 0 < made.param_groups[0]["lr"] <= 0.5
        schedule.step()


PLATEAUS = [
    {"factor": factor, "patience": patience, "threshold": threshold, "cooldown": cooldown, "min_lr": min_lr}
    for factor, patience, threshold, cooldown, min_lr in [
        (0.5, 0, 0.1, 0, 0.0),
        (0.1, 10, 1e-4, 0, 0.0),
        (0.5, 2, 0.0, 0, 0.02),
        (0.7, 1, 0.3, 3, 0.0),
        (0.3, 0, 0.1, 5, 0.07),
        (0.0, 2, 0.1, 1, 0.0),
    ]
]
PLATEAUS += [{**options, "warmup": 9.5, "min_lr": 0.0} for options in PLATEAUS]


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_plateau_drops_where_torchs_does(options):
    torch.manual_seed(0)
    values = [math.nan, *(torch.randn(150) * 0.1).cumsum(0).tolist(), math.nan]
    mine, theirs = optimizer(0.5, 0.05), optimizer(0.5, 0.05)
    ours = Plateau(**options).build(mine, 99, 4)
    warmup = rise(theirs, 38) if "warmup" in options else None
    options = {key: value for key, value in options.items() if key != "warmup"}
    other = lr_scheduler.ReduceLROnPlateau(theirs, **options, threshold_mode="abs", eps=0)
    drops, made = 0, []
    for value in values:
        for _ in range(4):
            theirs.step()
            made.append([group["lr"] for group in mine.param_groups])
            ours.step()
            if warmup is not None:
                warmup.step()
        before = theirs.param_groups[0]["lr"]
        ours.evaluated(value)
        other.step(value)
        found = [[group["lr"] for group in made.param_groups] for made in (mine, theirs)]
        assert found[0] == pytest.approx(found[1], rel=1e-11)
        drops += theirs.param_groups[0]["lr"] < before
    assert drops >= (2 if options["factor"] else 1)
    assert [ours.due(t) for t in range(len(made))] == made  # those before a drop are due as they were


def test_plateau_sees_a_standstill_of_negative_values():
    made = optimizer()
    schedule = Plateau(patience=1).build(made, TOTAL, PER_EPOCH)
    for _ in range(3):
        schedule.evaluated(-0.9)
    assert made.param_groups[0]["lr"] == pytest.approx(0.05)


def test_plateau_warms_up_to_the_rate_it_drops_from():
    made = optimizer()
    schedule = Plateau(warmup=1.0, patience=0).build(made, TOTAL, PER_EPOCH)
    schedule.evaluated(1.0)
    schedule.evaluated(1.0)
    assert made.param_groups[0]["lr"] == pytest.approx(0.01)
    for _ in range(6):
        schedule.step()
    assert made.param_groups[0]["lr"] == pytest.approx(0.05)


def test_every_group_keeps_its_own_base():
    made = optimizer(0.5, 0.05)
    Step(step_size=1, gamma=0.1).build(made, TOTAL, 1).step()
    assert [group["lr"] for group in made.param_groups] == pytest.approx([0.05, 0.005])


def test_a_rate_held_in_a_tensor_stays_that_tensor():
    made = optimizer()
    rate = made.param_groups[0]["lr"] = torch.tensor(0.5)
    schedule = Cosine().build(made, 2, 1)
    schedule.step()
    assert made.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.25)


@pytest.mark.parametrize(
    "scheduler",
    [
        Constant(),
        Constant(warmup=3.0),
        Step(2),
        Cosine(warmup=1.0),
        OneCycle(),
        Plateau(patience=1, cooldown=1, warmup=1.0),
    ],
)
def test_a_state_goes_on_where_it_was_taken(scheduler):
    values = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]

    def train(made, schedule, steps):
        found = []
        for step in steps:
            found.append(made.param_groups[0]["lr"])
            schedule.step()
            if step % PER_EPOCH == PER_EPOCH - 1:
                schedule.evaluated(values[step // PER_EPOCH])
        return found

    made = optimizer()
    schedule = scheduler.build(made, TOTAL, PER_EPOCH)
    train(made, schedule, range(14))
    state = json.loads(json.dumps(schedule.state_dict(), allow_nan=False))
    resumed = optimizer()
    again = scheduler.build(resumed, TOTAL, PER_EPOCH)
    again.load_state_dict(state)
    assert train(resumed, again, range(14, TOTAL)) == train(made, schedule, range(14, TOTAL))


def test_a_state_holds_the_base_when_the_optimizer_was_restored_first():
    made = optimizer()
    schedule = Step(step_size=1, gamma=0.1).build(made, TOTAL, 1)
    schedule.step()
    resumed = optimizer()
    resumed.load_state_dict(made.state_dict())
    again = Step(step_size=1, gamma=0.1).build(resumed, TOTAL, 1)
    again.load_state_dict(schedule.state_dict())
    assert resumed.param_groups[0]["lr"] == pytest.approx(0.05)


def test_the_state_of_plateau_is_json_before_the_first_evaluation():
    json.dumps(Plateau().build(optimizer(), TOTAL, PER_EPOCH).state_dict(), allow_nan=False)
