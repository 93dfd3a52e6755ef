"""`bptrain reproduce`: identical, or what differs first and by how much."""

import json

import pytest

from bptrain.cli.main import main
from bptrain.runs.directory import RunDirectory
from bptrain.train.checkpoint import FILES, Checkpoint, read, write

IRIS = ["data=iris", "model.sizes=[5]", "model.dropout=0.2", "fit.epochs=3", "name=tiny"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder):
    assert main(["-q", *IRIS, "optimizer.lr=0.01"]) == 0
    (run,) = folder.glob("outputs/tiny/*")
    return run


def test_a_run_made_again_is_identical(run, folder, capsys):
    assert main(["reproduce", str(run)]) == 0
    out, err = capsys.readouterr()
    assert (
        out.splitlines()[-1]
        == f"identical  {max(folder.glob('outputs/tiny/*')).relative_to(folder)} is {run} to the bit"
    )
    assert err == ""
    assert len(list(folder.glob("outputs/tiny/*"))) == 2


def test_the_first_step_and_tensor_that_differ_are_named_with_how_much(run, capsys):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    changed = json.loads(lines[2])
    changed["loss"] += 0.5
    (run / "metrics.jsonl").write_text("\n".join([*lines[:2], json.dumps(changed), *lines[3:]]) + "\n")
    ((_, contents),) = RunDirectory(run).read_checkpoints("last", dict.fromkeys(FILES, 10**6))
    made = read(contents)
    name = next(iter(made.snapshot.model))
    made.snapshot.model[name].view(-1)[1] += 0.25
    for file, data in write(Checkpoint(made.snapshot, made.best, made.progress)).items():
        (run / "checkpoints" / "last" / file).write_bytes(data)
    assert main(["reproduce", str(run), "-q"]) == 3
    err = capsys.readouterr().err
    assert f"Step {changed['step']}: the train loss was {changed['loss']}" in err
    assert "(by 0.5)" in err
    assert f"{name} (model) differs by 0.25 in 1 of" in err


def test_what_makes_other_bits_likely_is_said_first(run, capsys):
    lock = json.loads((run / "lock.json").read_text())
    lock["versions"]["torch"] = "1.0"
    (run / "lock.json").write_text(json.dumps(lock))
    assert main(["reproduce", str(run), "-q"]) == 0
    assert "torch was 1.0 in this run" in capsys.readouterr().err


def test_what_can_not_be_compared_is_said(run, folder, capsys):
    assert main(["reproduce"]) == 2
    assert "reproduce: which run?" in capsys.readouterr().err
    assert main(["reproduce", str(run), "optimizer.lr=1"]) == 2
    assert "optimizer.lr: was 0.01 in this run, and is 1." in capsys.readouterr().err
    (run / "metrics.jsonl").unlink()
    assert main(["reproduce", str(run), "-q"]) == 2
    assert "has no metrics.jsonl" in capsys.readouterr().err
