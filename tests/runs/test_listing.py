"""The runs under a folder: which there are, and what each came to."""

import json
import re
import subprocess
import sys

import pytest

from bptrain.cli.main import main
from bptrain.runs.listing import list_runs

TINY = ["data=iris", "model.sizes=[4]", "fit.epochs=2", "name=tiny", "-q"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_run_is_listed_with_what_picked_its_best_epoch(folder, capsys):
    assert main([*TINY, "seed=5"]) == 0
    assert main([*TINY, "-m", "data.split.validation=0", "monitor=null,loss"]) == 0
    assert main([*TINY, "name=other", "data=diabetes", "loss=mse", "data.split.test=0"]) == 0
    runs = list_runs()
    assert [run.path.parts[1] for run in runs] == ["other", "tiny", "tiny", "tiny"]
    assert [run.metric for run in runs] == ["validation rmse", "validation accuracy", "train loss", "train loss"]
    for run in runs:
        part, name = run.metric.split()
        assert run.best == run.summary["best"][part][name]
        assert run.status == "finished"
    assert [run.test is None for run in runs] == [True, False, False, False]
    assert runs[1].test == runs[1].summary["test"]["accuracy"]
    assert runs[2].test == runs[2].summary["test"]["loss"]
    assert runs[1].overrides[-1] == "seed=5"
    assert main(["runs", "outputs/other"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"finished +validation rmse +\d+\.?\d* +- +2 ", out)
    assert "outputs/tiny" not in out


def test_runs_that_were_cut_off_or_failed_early_are_listed(folder, capsys):
    for name, files in {
        "started": {"lock.json": {"overrides": ["seed=1"]}},
        "damaged": {"lock.json": None, "summary.json": None},
        "failed": {"lock.json": {}, "summary.json": {"status": "failed", "monitor": "accuracy", "mode": "max"}},
        "no_run": {"summary.json": {}},
    }.items():
        (folder / "outputs" / "x" / name).mkdir(parents=True)
        for file, value in files.items():
            (folder / "outputs" / "x" / name / file).write_text("{" if value is None else json.dumps(value))
    runs = {run.path.name: run for run in list_runs()}
    assert {name: run.status for name, run in runs.items()} == {
        "started": "unfinished",
        "damaged": "unfinished",
        "failed": "failed",
    }
    assert all((run.metric, run.best, run.test) == ("", None, None) for run in runs.values())
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"started +unfinished +- +- .* seed=1", out)


def test_reading_and_locking_runs_needs_no_hydra():
    code = "import sys, bptrain.runs.listing, bptrain.runs.lock\nassert not {'hydra', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
