"""The console without a terminal: plain lines that say what happened."""

import re

import pytest

from bptrain.cli.main import main
from bptrain.report.sweep import SweepConsole

TINY = ["data=iris", "model.sizes=[4]", "fit.epochs=2", "name=tiny"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys, *overrides):
    assert main([*TINY, *overrides]) == 0
    return capsys.readouterr().out


def table(out):
    """The rows of the table of results, each a list of words."""
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("part "))
    return [re.split(r" {2,}", line) for line in lines[start:-2]]


def test_an_early_stop_is_said(capsys):
    out = said(capsys, "fit.epochs=9", "fit.patience=2", "optimizer.lr=0")
    assert re.findall(r"^epoch (\d)/9 ", out, re.MULTILINE) == ["1", "2", "3"]
    assert re.findall(r"^epoch .* best$", out, re.MULTILINE) == re.findall(r"^epoch 1/9 .*", out, re.MULTILINE)
    assert re.search(
        r"^12 steps in \d.* samples/s\), stopped early: no better value within fit.patience; best epoch 1; seed 0$",
        out,
        re.MULTILINE,
    )
    assert "stopped early" not in said(capsys)


def test_without_validation_the_training_loss_is_shown_as_what_picks_the_best(capsys):
    out = said(capsys, "data.split.validation=0")
    assert re.search(r"^data .* 120 train, 30 test$", out, re.MULTILINE)
    assert "validation" not in out.replace("data.split.validation=0", "")
    assert re.search(r"^epoch 1/2   train loss \d\.\d{4}   lr 0.001   best$", out, re.MULTILINE)
    head, train, test = table(out)
    assert head == ["part", "loss", "accuracy"]
    assert train[0] == "train (best)"
    assert train[2] == "-"
    assert test[0] == "test"
    assert re.fullmatch(r"0\.\d+", test[2])


def test_without_a_test_part_there_is_no_row_for_it(capsys):
    assert [row[0] for row in table(said(capsys, "data.split.test=0"))] == ["part", "validation (best)"]
    alone = table(said(capsys, "data.split.test=0", "data.split.validation=0"))
    assert [row[0] for row in alone] == ["part", "train (best)"]
    assert alone[0][1:] == ["loss"]


def test_one_step_is_no_steps(capsys):
    assert re.search(r"^1 step in \d", said(capsys, "optimizer=gd", "fit.epochs=1"), re.MULTILINE)
    assert re.search(r"^2 steps in \d", said(capsys, "optimizer=gd"), re.MULTILINE)


def test_a_check_of_a_share_of_the_batch_says_so(capsys):
    part = r"^Gradients verified: .* s on 10 of 64 rows$"
    for verb in ([], ["check"]):
        assert main([*verb, *TINY, "fit.batch_size=64", "check.rows=10"]) == 0
        assert re.search(part, capsys.readouterr().out, re.MULTILINE)
        assert main([*verb, *TINY, "fit.batch_size=10", "check.rows=10"]) == 0
        assert " of 10 rows" not in capsys.readouterr().out


def trial(number, monitor, mode, **best):
    entry = {"number": number, "overrides": [f"seed={number}"], "status": "finished", "seconds": 1.0}
    return entry | {"monitor": monitor, "mode": mode, "best": {"epoch": 3, **best}, "test": {"loss": 0.5}}


def test_trials_of_different_metrics_are_ranked_apart(tmp_path, capsys):
    trials = [
        trial(0, "loss", "min", train={"loss": 0.7}),
        trial(1, "accuracy", "max", train={"loss": 0.1}, validation={"accuracy": 0.8}),
        trial(2, "loss", "min", train={"loss": None}),
        trial(3, "accuracy", "max", train={"loss": 0.1}, validation={"accuracy": 0.9}),
        trial(4, "loss", "min", train={"loss": 0.2}),
        trial(5, "loss", "min", train={"loss": 0.1}, validation={"loss": 0.3}),
    ]
    SweepConsole(False, len(trials), tmp_path).table(trials)
    found = [re.split(r" {2,}", line) for line in capsys.readouterr().out.splitlines()[1:-1]]
    tables, rows = [], []
    for row in found:
        if row[0] == "trial":
            tables.append((row[2], rows := []))
        else:
            rows.append((row[0], row[2]))
    assert dict(tables) == {
        "validation accuracy": [("3", "0.9"), ("1", "0.8")],
        "train loss": [("4", "0.2"), ("0", "0.7"), ("2", "-")],
        "validation loss": [("5", "0.3")],
    }
