"""The serial executor: what a sweep shows and leaves, also when trials fail or it is interrupted."""

import json
import re
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from bptrain.cli.main import main
from bptrain.errors import RequestError
from bptrain.sweep.execute import execute
from bptrain.sweep.plan import plan

TINY = ["data=iris", "model.sizes=[4]", "fit.epochs=2", "name=tiny"]


def only(pattern, folder):
    (found,) = folder.glob(pattern)
    return found


def test_a_sweep_runs_every_combination_and_ends_with_a_sorted_table(folder, capsys):
    assert main(["-m", *TINY, "optimizer.lr=0.0001,0.1", "seed=0,1"]) == 0
    out = capsys.readouterr().out
    sweep = only("outputs/tiny/sweeps/*", folder)
    trials = json.loads((sweep / "sweep.json").read_text())["trials"]
    assert [t["overrides"] for t in trials] == [
        ["optimizer.lr=0.0001", "seed=0"],
        ["optimizer.lr=0.0001", "seed=1"],
        ["optimizer.lr=0.1", "seed=0"],
        ["optimizer.lr=0.1", "seed=1"],
    ]
    for number in range(4):
        assert json.loads((sweep / str(number) / "summary.json").read_text())["status"] == "finished"
    table = out[out.index("trial  ") :].splitlines()[1:5]
    scores = [float(line.split()[3]) for line in table]
    assert scores == sorted(scores, reverse=True)
    assert {line.split()[0] for line in table} == {"0", "1", "2", "3"}
    assert "4 finished, 0 failed" in out


def test_a_failing_job_does_not_stop_the_sweep(folder, capsys):
    assert main(["-m", *TINY[2:], "data=iris", "model=cnn,mlp"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"failed +0 +model=cnn: .*\(4,\)", out)
    assert "1 finished, 1 failed" in out
    sweep = only("outputs/tiny/sweeps/*", folder)
    trials = json.loads((sweep / "sweep.json").read_text())["trials"]
    assert [t["status"] for t in trials] == ["failed", "finished"]
    assert not (sweep / "0").exists()


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        (["seed=0,1"], 3),
        (["monitor=loss,rmse"], 3),
        (["data=diabetes", "loss=mse", "check.enabled=true,false", "optimizer.lr=1e38"], 1),
    ],
    ids=str,
)
def test_a_sweep_has_the_exit_code_of_its_worst_failure(monkeypatch, overrides, code):
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, dy):
            return 1.5 * dy

    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: Wrong.apply(x))
    assert main(["-m", "-q", *TINY, "model/activation=relu", *overrides]) == code


def test_a_sweep_of_which_no_trial_can_be_built_is_one_request_error_and_nothing_written(folder, capsys):
    trials = plan(["data=csv", "data.path=no.csv,neither.csv", "data.target=y", "seed=0,1"])
    with pytest.raises(RequestError) as caught:
        execute(trials)
    assert [problem.where for problem in caught.value.problems] == ["no.csv", "neither.csv"]
    assert list(folder.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_a_sweep_of_which_one_trial_can_be_built_runs_and_is_on_record(folder):
    assert execute(plan([*TINY, "monitor=rmse,loss"]), quiet=True) == 1
    trials = json.loads(only("outputs/tiny/sweeps/*/sweep.json", folder).read_text())["trials"]
    assert [trial["status"] for trial in trials] == ["failed", "finished"]


def test_a_trial_that_fails_before_it_is_trained_for_another_reason_is_on_record(folder):
    diverge = ["data=diabetes", "loss=mse", "optimizer=sgd", "optimizer.lr=1e30,1e31", "model/activation=relu"]
    assert main(["-m", "-q", "name=tiny", *diverge]) == 1
    trials = json.loads(only("outputs/tiny/sweeps/*/sweep.json", folder).read_text())["trials"]
    assert [trial["status"] for trial in trials] == ["failed", "failed"]


def test_an_interrupt_ends_the_sweep_with_the_running_trial_on_record(folder):
    command = [sys.executable, "-m", "bptrain", "-m", *TINY, "fit.epochs=2,1000000,3"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(folder.glob("outputs/tiny/sweeps/*/1/metrics.jsonl")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    sweep = only("outputs/tiny/sweeps/*", folder)
    trials = json.loads((sweep / "sweep.json").read_text())["trials"]
    assert [trial["status"] for trial in trials] == ["finished", "interrupted"]
    assert json.loads((sweep / "1" / "summary.json").read_text())["status"] == "interrupted"
    assert not (sweep / "2").exists()


def test_a_quiet_sweep_names_its_failures_on_stderr(tmp_path, monkeypatch, capsys):
    from bptrain.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["-q", "-m", "data=iris", "fit.epochs=1", "name=tiny", "model=mlp,cnn"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "model=cnn" in err
    assert "(4,)" in err
