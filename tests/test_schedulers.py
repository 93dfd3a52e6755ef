"""Schedules against closed forms and torch's own."""

import json
import math

import pytest
import torch
from torch.optim import lr_scheduler

from bptrain.schedulers import Constant, Cosine, OneCycle, Plateau, Step

TOTAL, PER_EPOCH = 24, 4


def optimizer(*rates):
    rates = rates or (0.5,)
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(2))], "lr": lr} for lr in rates])


def rates(scheduler, steps=TOTAL, start=0.5):
    """The rate that each step is made with."""
    made = optimizer(start)
    schedule = scheduler.build(made, TOTAL, PER_EPOCH)
    found = []
    for _ in range(steps):
        found.append(made.param_groups[0]["lr"])
        made.step()
        schedule.step()
    return found


def torchs(make, steps=TOTAL):
    made = optimizer()
    scheduler = make(made)
    found = []
    for i in range(steps):
        found.append(made.param_groups[0]["lr"])
        made.step()
        if i < steps - 1:
            scheduler.step()
    return found


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
    assert rates(Step(step_size=2, gamma=0.2)) == pytest.approx(torchs(lambda o: lr_scheduler.StepLR(o, 8, 0.2)))


def test_warm_up_of_a_step_schedule_multiplies_it():
    expected = [0.5 / 13 * (t + 1) * 0.2 ** (t // 8) for t in range(12)]
    assert rates(Step(step_size=2, gamma=0.2, warmup=3.0), 12) == pytest.approx(expected)


def test_cosine_is_half_a_cosine_to_its_end():
    expected = [0.1 + 0.2 * (1 + math.cos(math.pi * t / TOTAL)) for t in range(TOTAL)]
    assert rates(Cosine(eta_min=0.1)) == pytest.approx(expected)
    assert rates(Cosine(eta_min=0.1)) == pytest.approx(
        torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, eta_min=0.1))
    )
    assert rates(Cosine(eta_min=0.1), TOTAL + 3)[TOTAL:] == pytest.approx([0.1] * 3)


def test_cosine_starts_after_the_warm_up():
    expected = [0.5 * (t + 1) / 5 for t in range(4)]
    expected += [0.25 * (1 + math.cos(math.pi * t / (TOTAL - 4))) for t in range(TOTAL - 4)]
    assert rates(Cosine(warmup=1.0)) == pytest.approx(expected)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_one_cycle_is_that_of_torch(strategy, share):
    def theirs(made):
        return lr_scheduler.OneCycleLR(
            made,
            0.5,
            TOTAL,
            pct_start=share,
            anneal_strategy=strategy,
            cycle_momentum=False,
            div_factor=10,
            final_div_factor=100,
        )

    ours = OneCycle(pct_start=share, anneal_strategy=strategy, div_factor=10, final_div_factor=100)
    assert rates(ours) == pytest.approx(torchs(theirs))
    assert rates(ours, TOTAL + 2)[TOTAL:] == pytest.approx([0.5 / 1000] * 2)


@pytest.mark.parametrize("total", [1, 2, 10])
def test_one_cycle_takes_trainings_of_any_length(total):
    made = optimizer()
    schedule = OneCycle(pct_start=0.1).build(made, total, 1)
    for _ in range(total + 1):
        assert 0 < made.param_groups[0]["lr"] <= 0.5
        schedule.step()


@pytest.mark.parametrize(("patience", "cooldown", "min_lr"), [(0, 0, 0.0), (2, 0, 0.02), (1, 3, 0.0)])
def test_plateau_is_that_of_torch(patience, cooldown, min_lr):
    torch.manual_seed(0)
    values = [math.nan, *(torch.randn(40) * 0.1).cumsum(0).tolist(), math.nan]
    mine, theirs = optimizer(), optimizer()
    ours = Plateau(factor=0.5, patience=patience, threshold=0.1, cooldown=cooldown, min_lr=min_lr).build(mine, 99, 3)
    other = lr_scheduler.ReduceLROnPlateau(
        theirs,
        factor=0.5,
        patience=patience,
        threshold=0.1,
        threshold_mode="abs",
        cooldown=cooldown,
        min_lr=min_lr,
        eps=0,
    )
    drops = set()
    for value in values:
        ours.step()
        ours.evaluated(value)
        other.step(value)
        assert mine.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])
        drops.add(mine.param_groups[0]["lr"])
    assert len(drops) > 2


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
