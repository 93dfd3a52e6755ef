"""Choosing the engine while training: what is decided, on what grounds, and where it is written."""

import json

import pytest
import torch
from torch import nn
from torch.optim import SGD

from bptrain.cli.main import main
from bptrain.train import choice
from bptrain.train.choice import Choosing
from bptrain.train.compiled import Compiled
from bptrain.train.engine import Eager
from bptrain.train.fit import fit
from bptrain.train.program import Program
from bptrain.train.record import Chosen
from bptrain.train.state import State


class Timed(Choosing):
    """A step takes 1 s eagerly, and `compiled_takes` in the program."""

    time, compiled_takes = 0.0, 0.4

    def _now(self):
        self.time += self.compiled_takes if isinstance(self.engine, Compiled) else 1.0
        return self.time


def timed(run, compiled_takes=0.4, measuring=True):
    """The run with an engine whose time is known."""
    eager = Eager(run.state, run.loss, run.dataset.parts["train"], run.settings.fit.clip, run.casts)
    run.engine = Timed(eager, run.total_steps, measuring)
    run.engine.compiled_takes = compiled_takes
    return run


def chosen(run):
    return [record for record in fit(run) if isinstance(record, Chosen)]


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.state.model.parameters()])


def test_a_run_that_is_too_short_to_measure_stays_eager_and_says_so(run_of):
    (record,) = chosen(run_of("fit.engine=auto"))
    assert (record.step, record.engine, record.why) == (0, "eager", "the run has only 14 steps")


def test_a_run_whose_rest_is_short_stays_eager_and_says_so(run_of):
    run = run_of("fit.engine=auto", "fit.epochs=4")
    (record,) = chosen(run)
    assert (record.step, record.engine) == (23, "eager")
    assert "the steps that are left take 0.0 s" in record.why
    eager = run_of("fit.epochs=4")
    list(fit(eager))
    assert torch.equal(weights(run), weights(eager))


def test_a_program_that_takes_longer_to_compile_than_it_saves_is_not_compiled(run_of, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(Program, "expected", lambda self: 200.0)
    (record,) = chosen(timed(run_of("fit.epochs=20")))
    assert (record.step, record.engine) == (23, "eager")
    assert "the steps that are left take 117 s, and compiling about 200 s" in record.why
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("takes", "engine"), [(0.4, "compiled"), (1.5, "eager")])
def test_the_faster_engine_is_kept(run_of, compiled, monkeypatch, takes, engine):
    monkeypatch.setattr(choice, "MEASURED", 4)  # so that the first measurement ends with the small batch of an epoch
    run = timed(run_of("fit.epochs=4"), takes)
    (record,) = chosen(run)
    assert (record.step, record.engine) == (14, engine)
    assert f"{takes * 1e3:.2f} ms a step, eagerly 1000.00 ms" in record.why
    assert "code found in torch's cache" in record.why
    assert record.seconds == {"eager": 1.0, "compiled": pytest.approx(takes), "compiling": pytest.approx(0, abs=60)}
    assert run.engine.compiled.sizes == [16]
    eager = run_of("fit.epochs=4")
    list(fit(eager))
    torch.testing.assert_close(weights(run), weights(eager), rtol=1e-5, atol=1e-6)


def test_a_deterministic_run_measures_nothing(run_of):
    try:
        run = run_of("fit.engine=auto", "fit.deterministic=true")
        assert type(run.engine) is Eager
        assert torch.are_deterministic_algorithms_enabled()
        assert chosen(run) == []
    finally:
        torch.use_deterministic_algorithms(False)


def test_lock_and_console_have_the_choice(compiled, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = ["data=iris", "model.sizes=[2]", "fit.batch_size=16", "optimizer=sgd", "fit.epochs=1", "name=tiny"]
    assert main([*tiny, "fit.engine=compiled"]) == 0
    (path,) = tmp_path.glob("outputs/tiny/*/lock.json")
    lock = json.loads(path.read_text())
    assert lock["engine"] == "compiled"
    assert lock["engine_chosen"]["step"] == 0
    assert lock["engine_chosen"]["why"].startswith("fit.engine=compiled")
    assert lock["engine_chosen"]["seconds"].keys() == {"compiling"}
    assert "engine     compiled from step 1 on: fit.engine=compiled" in capsys.readouterr().out


def test_without_a_compiler_training_is_eager_and_says_so(run_of, no_compiler, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    run, eager = run_of("fit.engine=compiled"), run_of()
    (record,) = chosen(run)
    assert (record.step, record.engine) == (0, "eager")
    assert "it can't be compiled: there is no C++ compiler" in record.why
    list(fit(eager))
    assert torch.equal(weights(run), weights(eager))


class Branching(nn.Module):
    def __init__(self, random):
        super().__init__()
        self.linear, self.random = nn.Linear(4, 3), random

    def forward(self, x):
        y = self.linear(x)
        if self.random:
            return y * torch.bernoulli(torch.full_like(y, 0.9))
        return y if y.sum() > 0 else 2 * y


@pytest.mark.parametrize(("random", "words"), [(False, "depends on values of its inputs"), (True, "by bernoulli")])
def test_a_network_that_is_no_program_trains_eagerly_and_says_why(run_of, random, words):
    results = []
    for measuring in (None, False, True):
        run = run_of("fit.epochs=4", "check.enabled=false")
        torch.manual_seed(0)
        model = Branching(random)
        optimizer = SGD(model.parameters(), 0.1)
        run.state = State(model, optimizer, run.settings.scheduler.build(optimizer, run.total_steps, 7))
        if measuring is None:
            run.engine = Eager(run.state, run.loss, run.dataset.parts["train"])
            list(fit(run))
        else:
            (record,) = chosen(timed(run, measuring=measuring))
            assert (record.step, record.engine) == (23 if measuring else 0, "eager")
            assert record.why.startswith("it can't be compiled: ")
            assert words in record.why
        results.append(weights(run))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_an_optimizer_that_evaluates_the_loss_itself_stays_eager_and_says_so(run_of):
    (record,) = chosen(run_of("fit.engine=compiled", "fit.epochs=2", "optimizer=lbfgs"))
    assert (record.step, record.engine) == (0, "eager")
    assert "lbfgs evaluates the loss itself" in record.why
