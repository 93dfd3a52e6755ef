"""Networks that are trained together come out as those that are trained alone."""

import pytest
import torch
from torch.nn.utils import parameters_to_vector as vector

from bptrain.check.verdict import VERIFIED
from bptrain.config.compose import compose, settings_of
from bptrain.errors import GradientsWrong, RunFailed
from bptrain.train import population as module
from bptrain.train.fit import fit
from bptrain.train.member import Member
from bptrain.train.population import Population
from bptrain.train.program import Untraceable
from bptrain.train.record import Checked, Chosen, Evaluated, Finished, Stepped
from bptrain.train.run import build

SHORT = ("data=csv", "data.path=data.csv", "data.target=y", "model.sizes=[5]", "fit.epochs=3", "fit.batch_size=8")


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of 45 rows, of which 29 train: three whole batches of 8, and one of 5."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "CALLS", 1000)  # nothing is decided by time
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(45, 3, generator=generator)
    lines = [",".join(f"{x:.4f}" for x in row) + f",{'ab'[int(row.sum() > 0)]}" for row in rows]
    (tmp_path / "data.csv").write_text("u,v,w,y\n" + "\n".join(lines) + "\n")


def settings(*words):
    return settings_of(compose([*SHORT, *words]))


def together(each):
    """The runs and their records, trained as one."""
    members = [Member(number, build(one)) for number, one in enumerate(each)]
    assert len({member.kind() for member in members}) == 1
    rows, parts = 0, []
    for member in members:
        member.offset = rows
        parts.append(member.run.dataset.parts["train"])
        rows += len(parts[-1])
    records = [[] for _ in members]
    inputs, targets = (torch.cat([getattr(part, name) for part in parts]) for name in ("inputs", "targets"))
    for member, record in Population(members, inputs, targets, {}).fit():
        records[member.number].append(record)
    return [member.run for member in members], records


def alone(one):
    run = build(one)
    return run, list(fit(run))


NUMBERS = {
    "adam": ("optimizer.lr=0.01", "optimizer.lr=0.03", "optimizer.betas=[0.8,0.99]", "optimizer.eps=1e-4"),
    "adamw": ("optimizer.weight_decay=0.1", "optimizer.weight_decay=0.01"),
    "sgd": ("optimizer.momentum=0.9", "optimizer.momentum=0.5"),
    "rmsprop": ("optimizer.alpha=0.9", "optimizer.lr=0.003"),
    "delta": ("optimizer.lr=0.1", "optimizer.lr=0.3"),
}
NETWORKS = {
    "dropout": ("model.dropout=0.2", "model.dropout=0.5"),
    "batch norm": ("model.norm=batch", "model.norm=batch seed=3"),
    "seed": ("seed=1", "seed=2"),
    "clip": ("fit.clip=0.01", "fit.clip=0.1"),
    "smoothing": ("loss.label_smoothing=0.1", "loss.label_smoothing=0.3"),
    "schedule": ("scheduler=cosine", "scheduler=one_cycle scheduler.pct_start=0.5", "scheduler.warmup=1"),
    "plateau": ("scheduler=plateau scheduler.patience=0 scheduler.threshold=10 optimizer.lr=0.1", "seed=4"),
    "accumulate": ("fit.accumulate=2", "fit.accumulate=2 seed=1"),
    "epochs": ("fit.epochs=1", "fit.epochs=4"),
}
CASES = [(f"optimizer={name}", words) for name, words in NUMBERS.items()]
CASES += [("optimizer=adam", words) for words in NETWORKS.values()]


@pytest.mark.parametrize(("optimizer", "each"), CASES, ids=[*NUMBERS, *NETWORKS])
def test_members_come_out_as_alone(table, optimizer, each):
    each = [settings(optimizer, *words.split()) for words in each]
    runs, records = together(each)
    for one, run, mine in zip(each, runs, records, strict=True):
        own, theirs = alone(one)
        assert torch.allclose(vector(run.state.model.parameters()), vector(own.state.model.parameters()), atol=2e-6)
        assert [type(r) for r in mine if isinstance(r, (Checked, Evaluated, Finished))] == [
            type(r) for r in theirs if isinstance(r, (Checked, Evaluated, Finished))
        ]
        ends = [[r for r in of if isinstance(r, (Evaluated, Finished))] for of in (mine, theirs)]
        for got, right in zip(*ends, strict=True):
            assert (got.epoch, got.step) == (right.epoch, right.step)
            assert flat(got.scores) == pytest.approx(flat(right.scores), abs=1e-5)
        assert sum(r.rows for r in mine if isinstance(r, Stepped)) == sum(
            r.rows for r in theirs if isinstance(r, Stepped)
        )
        assert run.state.generator.get_state().equal(torch.get_rng_state())  # all that was drawn is what it draws alone


@pytest.mark.parametrize(
    "words",
    [
        "model=cnn model.channels=[3,2] model.norm=batch model.dropout=0.2",
        "model=cnn model.channels=[3] data=mnist1d",
        "model=rnn model.hidden=5",
        "model=gru model.hidden=5 model.layers=2 model.dropout=0.3",
        "model=lstm model.hidden=5 model.bidirectional=true",
    ],
)
def test_every_kind_of_network_comes_out_as_alone(words, monkeypatch):
    """Two epochs of some steps and a smaller batch, on digits if no other data are named."""
    monkeypatch.setattr(module, "CALLS", 1000)
    rows = 1000 if "mnist1d" in words else 400
    each = [
        settings_of(compose([*words.split(), f"seed={seed}", f"fit.batch_size={rows}", "fit.epochs=2"]))
        for seed in (1, 2)
    ]
    runs, records = together(each)
    for one, run, mine in zip(each, runs, records, strict=True):
        own, theirs = alone(one)
        assert torch.allclose(vector(run.state.model.parameters()), vector(own.state.model.parameters()), atol=2e-6)
        assert flat(mine[-1].scores) == pytest.approx(flat(theirs[-1].scores), abs=1e-5)
        assert run.state.generator.get_state().equal(torch.get_rng_state())


def flat(scores):
    return (
        {f"{part} {name}": value for part, of in scores.items() for name, value in of.items()}
        if any(isinstance(of, dict) for of in scores.values())
        else scores
    )


def test_a_member_has_a_verdict_of_its_own(table):
    _, records = together([settings("seed=1"), settings("seed=2")])
    for mine in records:
        (checked,) = [record for record in mine if isinstance(record, Checked)]
        assert checked.report.verdict == VERIFIED
        assert checked.loss is not None
        assert any(isinstance(record, Chosen) and record.engine == "population" for record in mine)


def test_a_wrong_step_of_one_member_is_its_end_alone(table, monkeypatch):
    """Planted: the gradient that one member is given is 1 % too long."""
    monkeypatch.setattr(module, "Program", Longer)
    runs, records = together([settings("seed=1", "fit.clip=null"), settings("seed=2")])
    assert isinstance(records[0][-1], GradientsWrong)
    assert "gradient" in str(records[0][-1])
    assert isinstance(records[1][-1], Finished)
    assert runs[0].state.step == 0
    assert runs[1].state.step == 12


class Longer(module.Program):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        run, count = self.run, 4  # weights and biases of two layers

        def longer(tensors):
            losses = run(tensors)
            gradients = tensors[-self.lasting :][count : 2 * count]
            for gradient in gradients:
                gradient[0] *= 1.01
            return losses

        self.lasting = 4 * 2 + 3 * 4  # and of Adam's state
        self.run = longer


def test_a_member_that_diverges_leaves_the_others_as_they_are(table):
    calm = ["optimizer=sgd", "optimizer.lr=0.1", "optimizer.momentum=0"]
    wild = ["optimizer=sgd", "optimizer.lr=1e38", "optimizer.momentum=0"]
    runs, records = together([settings(*wild), settings(*calm)])
    assert isinstance(records[0][-1], RunFailed)
    assert "diverged" in str(records[0][-1])
    own, _ = alone(settings(*calm))
    assert torch.allclose(vector(runs[1].state.model.parameters()), vector(own.state.model.parameters()), atol=2e-6)


def test_members_that_stop_early_keep_their_last_weights(table):
    """Three of four stop, so that the rest goes on in a smaller stack."""
    soon = [settings(f"seed={seed}", "optimizer.lr=0", "fit.patience=1", "fit.epochs=9") for seed in (1, 2, 3)]
    each = [*soon, settings("seed=4", "fit.epochs=9")]
    runs, records = together(each)
    for one, run, mine in zip(each, runs, records, strict=True):
        own, theirs = alone(one)
        assert mine[-1].early == theirs[-1].early
        assert run.state.epoch == own.state.epoch
        assert torch.allclose(vector(run.state.model.parameters()), vector(own.state.model.parameters()), atol=2e-6)
    assert [run.state.epoch for run in runs[:3]] == [2, 2, 2]
    assert runs[3].state.epoch == 9


def test_checkpoints_of_a_member_are_its_own(table):
    runs, _ = together([settings("seed=1", "model.dropout=0.5"), settings("seed=2", "model.dropout=0.2")])
    for run, seed in zip(runs, (1, 2), strict=True):
        own, _ = alone(settings(f"seed={seed}", f"model.dropout={(0, 0.5, 0.2)[seed]}"))
        mine, theirs = run.state.snapshot(), own.state.snapshot()
        assert mine.generators["torch"].equal(theirs.generators["torch"])
        assert mine.optimizer.keys() == theirs.optimizer.keys()
        assert mine.rest["scheduler"] == theirs.rest["scheduler"]
        for name, tensor in mine.optimizer.items():
            assert torch.allclose(tensor, theirs.optimizer[name], atol=2e-6), name


def test_what_has_no_step_for_stacked_networks_goes_alone(table):
    for words in (["optimizer=lbfgs"], ["optimizer=nadam"]):
        with pytest.raises(Untraceable, match=words[0].removeprefix("optimizer=")):
            Member(0, build(settings(*words)))


def test_what_differs_in_more_than_numbers_is_of_another_kind(table):
    def kind(*words):
        return Member(0, build(settings(*words))).kind()

    usual = kind()
    assert kind("seed=7", "optimizer.lr=0.5", "scheduler=cosine", "fit.patience=3", "fit.epochs=9") == usual
    for other in (
        "model.sizes=[6]",
        "fit.batch_size=9",
        "optimizer=adamw",
        "optimizer.amsgrad=true",
        "model.activation=tanh",
        "model.dropout=0.1",
        "fit.clip=1",
        "loss.label_smoothing=0.1",
        "optimizer.weight_decay=0.1",
        "precision=fp64",
        "fit.accumulate=2",
        "data.split.test=0.3",
    ):
        assert kind(other) != usual, other


def test_members_take_turns_where_stacking_loses(table, monkeypatch):
    """By a clock on which a network alone takes no time; also across an epoch's end and a schedule."""
    monkeypatch.setattr(Member, "seconds", lambda *_: 0.0)
    monkeypatch.setattr(module, "CALLS", 6)
    each = [settings("model.dropout=0.2", f"seed={seed}", "scheduler=cosine", "fit.epochs=4") for seed in (1, 2)]
    runs, records = together(each)
    for one, run, mine in zip(each, runs, records, strict=True):
        own, _ = alone(one)
        assert torch.allclose(vector(run.state.model.parameters()), vector(own.state.model.parameters()), atol=2e-6)
        assert run.state.generator.get_state().equal(torch.get_rng_state())
        (chosen,) = [r for r in mine if isinstance(r, Chosen) and r.step]
        assert "take turns" in chosen.why


@pytest.mark.parametrize("value", [2.0, torch.tensor([2.0])], ids=["number", "tensor"])
def test_what_a_module_keeps_besides_its_tensors_is_the_same_in_a_population(table, value):
    """It would be a constant of the program, that of the first member for all."""
    members = [Member(number, build(settings(f"seed={number}"))) for number in (1, 2)]
    assert members[0].kind() == members[1].kind()
    for member, scale in zip(members, (value, 2 * value), strict=True):
        member.run.state.model.head.scale = scale
    assert members[0].kind() != members[1].kind()
