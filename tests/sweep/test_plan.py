"""The plan of a sweep: which trials there are, and what is said of values that can't be swept."""

import re
from pathlib import Path

import pytest

import bptrain
from bptrain.errors import RequestError
from bptrain.sweep.plan import plan


def test_a_sweep_is_every_combination_the_last_key_changing_fastest():
    trials = plan(["optimizer.lr=0.1,0.01", "seed=range(2)", "fit.epochs=3"])
    assert [trial.words for trial in trials] == [
        ("optimizer.lr=0.1", "seed=0"),
        ("optimizer.lr=0.1", "seed=1"),
        ("optimizer.lr=0.01", "seed=0"),
        ("optimizer.lr=0.01", "seed=1"),
    ]
    assert [(trial.settings.optimizer.lr, trial.settings.seed) for trial in trials] == [
        (0.1, 0),
        (0.1, 1),
        (0.01, 0),
        (0.01, 1),
    ]
    assert {trial.settings.fit.epochs for trial in trials} == {3}


def test_a_sweep_takes_groups_lists_and_choices():
    assert [t.settings.model.name for t in plan(["model=mlp,gru"])] == ["mlp", "gru"]
    assert [t.settings.model.sizes for t in plan(["model.sizes=[4],[4,5]"])] == [(4,), (4, 5)]
    assert [t.settings.fit.clip for t in plan(["fit.clip=choice(1,2)"])] == [1.0, 2.0]


def test_what_is_wrong_in_any_trial_is_said_before_the_first_one():
    with pytest.raises(RequestError) as caught:
        plan(["optimizer.lr=0.1,-1,-2", "fit.epohs=1"])
    assert [problem.where for problem in caught.value.problems].count("optimizer.lr") == 2
    assert [problem.where for problem in caught.value.problems].count("fit.epohs") == 1


def test_a_glob_takes_the_options_of_a_group_those_of_the_user_too(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "gruff.yaml").write_text("name: gru\nhidden: 3\n")
    assert [t.words for t in plan(["model/activation=glob(re*)", "seed=1"])] == [
        ("model/activation=relu",),
        ("model/activation=relu6",),
    ]
    assert [t.words for t in plan(["model=glob([gr*,l*],exclude=ls*)"], str(tmp_path))] == [
        ("model=gru",),
        ("model=gruff",),
    ]


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("seed=range(0)", ["seed=range(0)", "no value"]),
        ("seed=range(3,1)", ["no value"]),
        ("seed=range(0,3,0)", ["no value"]),
        ("optimizer.lr=range(0.0,3.0,0.0)", ["no value"]),
        ("optimizer.lr=interval(0,1)", ["optimizer.lr=interval(0,1)", "interval", "range("]),
        ("model/activation=glob(zz*)", ["fits no model/activation", "relu"]),
        ("optimizer.lr=glob(*)", ["no group", "optimizer"]),
        ("seed=range(1000000)", ["'seed=range(1000000)'", "1,000,000 trials", "10,000"]),
        ("seed=range(30000000000000000000000)", ["30,000,000,000,000,000,000,000 trials"]),
        ("seed=range(5001)", ["-m", "10,002 trials"]),
    ],
)
def test_a_sweep_over_nothing_is_refused_in_a_sentence(word, words):
    with pytest.raises(RequestError) as caught:
        plan(["seed=1", word, "fit.epochs=1,2"])
    (problem,) = caught.value.problems
    for each in words:
        assert each in str(problem)


@pytest.mark.parametrize("words", [["name='x${seed}'", "seed=1,2"], ["experiment=iris_mlp,digits_mlp"]], ids=str)
def test_trials_of_different_names_are_refused_whatever_makes_the_names(words):
    with pytest.raises(RequestError, match="name: a sweep has one name, and this has 2"):
        plan(words)
    assert {trial.settings.name for trial in plan([*words, "name=all"])} == {"all"}


def test_only_the_command_line_and_the_config_know_hydra():
    source = Path(bptrain.__file__).parent
    knowing = {
        path.relative_to(source).parts[0]
        for path in source.rglob("*.py")
        if re.search(r"^\s*(from|import) hydra\b", path.read_text(), re.MULTILINE)
    }
    assert knowing == {"config"}
