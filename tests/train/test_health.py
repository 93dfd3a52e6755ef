"""Health: what is measured, what is found, and that it changes nothing."""

import json

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector as vector

from bptrain.cli.main import main
from bptrain.config.compose import compose, settings_of
from bptrain.train.fit import fit, steps_of
from bptrain.train.member import Member
from bptrain.train.population import Population
from bptrain.train.record import Evaluated
from bptrain.train.run import build

# 98 rows: in each epoch six batches of 16, and one of 2.
IRIS = ["data=iris", "model.sizes=[5]", "fit.batch_size=16", "fit.epochs=3", "check.enabled=false"]


def made(*words):
    return build(settings_of(compose([*IRIS, *words])))


def healths(run):
    return [record.health for record in fit(run) if isinstance(record, Evaluated)]


def findings(run):
    return [finding for health in healths(run) for finding in health.findings]


def together(*runs):
    """The health of each of some runs, trained as one, at each of its evaluations."""
    found, members = [[] for _ in runs], [Member(number, run) for number, run in enumerate(runs)]
    for member in members:
        member.offset = 98 * member.number
    parts = [run.dataset.parts["train"] for run in runs]
    inputs, targets = (torch.cat([getattr(part, name) for part in parts]) for name in ("inputs", "targets"))
    for member, record in Population(members, inputs, targets, {}).fit():
        if isinstance(record, Evaluated):
            found[member.number].append(record.health)
    return found


@pytest.mark.parametrize("words", [[], ["fit.clip=0.01"], ["fit.accumulate=2"], ["check.every=5"]])
def test_figures_are_those_of_the_last_whole_step_of_an_epoch(words):
    enabled = f"check.enabled={'check.every=5' in words}"
    run, twin = (made("fit.epochs=1", enabled, *words) for _ in range(2))
    (health,) = healths(run)
    named, whole = dict(twin.state.model.named_parameters()), 6 // twin.settings.fit.accumulate
    for step in steps_of(twin, 0)[:whole]:
        before = {name: p.detach().clone() for name, p in named.items()}
        twin.engine.step(step)
    gradient = torch.cat([p.grad.flatten() for p in named.values()]).norm().item()
    shares = {name: ((p - before[name]).norm() / p.norm()).item() for name, p in named.items()}
    update = vector(named.values()) - vector(before.values())
    assert health.gradient_norm == pytest.approx(gradient, rel=1e-5)
    assert health.shares == pytest.approx(shares, rel=1e-4)
    assert health.update_ratio == pytest.approx((update.norm() / vector(named.values()).norm()).item(), rel=1e-4)
    assert gradient <= 0.01001 or "fit.clip=0.01" not in words


@pytest.mark.parametrize("words", [["model.dropout=0.3"], ["optimizer=lbfgs"], ["precision=bf16", "fit.evaluate=2"]])
def test_measuring_leaves_training_as_it_is_to_the_bit(words):
    run = made(*words)
    assert None not in healths(run)
    plain = made(*words, "fit.health=false")
    assert set(healths(plain)) == {None}
    assert torch.equal(*(vector(one.state.model.parameters()) for one in (run, plain)))


def test_members_of_a_population_have_the_health_that_they_have_alone():
    each = [["seed=1"], ["seed=1", "optimizer.lr=0"], ["seed=2", "fit.health=false"], ["seed=3", "fit.evaluate=2"]]
    alone = [healths(made(*words)) for words in each]
    for mine, own in zip(together(*(made(*words) for words in each)), alone, strict=True):
        for a, b in zip(mine, own, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-3)
                assert a.update_ratio == pytest.approx(b.update_ratio, rel=1e-3)
                assert a.shares == pytest.approx(b.shares, rel=1e-3)
                assert [(f.step, f.kind, f.parameter) for f in a.findings] == [
                    (f.step, f.kind, f.parameter) for f in b.findings
                ]


@pytest.mark.parametrize(
    ("words", "kind", "parameter"),
    [
        (["optimizer.lr=0"], "unchanged", "layers.0.linear.weight"),
        (["optimizer.lr=1e-12", "scheduler.warmup=1"], "unchanged", "layers.0.linear.weight"),
        (["optimizer=sgd", "optimizer.lr=1000", "fit.epochs=6"], "too large", "head.weight"),
        ([f"model.sizes={[8] * 12}"], "vanishing", "layers.0.linear.weight"),
    ],
)
def test_what_is_wrong_with_a_training_is_found_and_told_once(words, kind, parameter):
    (told,) = [finding for finding in findings(made(*words)) if finding.kind == kind]
    assert told.parameter == parameter
    assert parameter in told.text


def test_a_gradient_that_explodes_is_found_in_the_epoch_in_which_it_does():
    """Planted: after the fourth epoch the head's weights are made 10000 times as large."""
    run, found = made("fit.epochs=6", "optimizer=sgd"), []
    for record in fit(run):
        if isinstance(record, Evaluated):
            found += [(f.epoch, f.step) for f in record.health.findings if f.kind == "exploding"]
            if record.epoch == 4:
                run.state.model.head.weight.data *= 1e4
    assert found == [(5, 35)]


@pytest.mark.parametrize("health", [lambda run: [healths(run)], together], ids=["alone", "together"])
@pytest.mark.parametrize(("cut", "epoch"), [(Tensor.detach, 1), (lambda x: x.detach() + 0 * x, 3)], ids=["cut", "zero"])
def test_layers_that_no_gradient_reaches_are_named(health, cut, epoch):
    """At once where the loss does not depend on them; in the third epoch where it is 0, as it can be by chance."""
    run = made()
    run.state.model.layers.append(Cut(cut))
    (told,) = [finding for one in health(run)[0] for finding in one.findings]
    assert (told.kind, told.parameter, told.epoch) == ("unreached", "layers.0.linear.weight", epoch)
    assert "and 1 more" in told.text


class Cut(nn.Module):
    def __init__(self, cut):
        super().__init__()
        self.forward = cut


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer.lr=0.02"],
        ["optimizer.lr=0.02", "scheduler=cosine", "fit.epochs=30"],
        ["optimizer.lr=2e-6", "scheduler.warmup=200", "fit.epochs=1"],  # whose first steps rounding loses
        ["optimizer=lbfgs"],
        ["optimizer=rprop", "fit.epochs=60"],
    ],
)
def test_nothing_is_said_of_a_healthy_training(words):
    assert not findings(made(*words))


def test_frozen_parameters_are_left_alone():
    run = made()
    run.state.model.layers.requires_grad_(False)
    assert not findings(run)


def test_figures_and_warnings_are_written_and_a_warning_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*IRIS, "optimizer.lr=0"]) == 0
    (run,) = tmp_path.glob("outputs/*/*")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert ({"gradient_norm", "update_ratio"} < set(line)) == (line["split"] == "train")
    health = json.loads((run / "summary.json").read_text())["health"]
    assert health["gradient_norm"] == lines[-3]["gradient_norm"] > health["update_ratio"] == 0
    assert health["smallest"]["update_ratio"] == health["largest"]["update_ratio"] == 0
    (finding,) = health["findings"]
    assert (finding["epoch"], finding["step"], finding["kind"]) == (1, 7, "unchanged")
    for shown in ((run / "train.log").read_text(), capsys.readouterr().out):
        assert [line for line in shown.splitlines() if line.startswith("health")] == [
            f"health     epoch 1: {finding['text']}"
        ]
