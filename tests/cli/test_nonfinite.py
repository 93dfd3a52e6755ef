"""What a run that meets NaN says and leaves, and that `bptrain resume` makes the step again."""

import json

import pytest

from bptrain.cli.main import main
from bptrain.train.checkpoint import read

DIVERGES = ["data=diabetes", "loss=mse", "optimizer=sgd", "optimizer.lr=1e6", "model/activation=relu", "name=tiny"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checkpoint(path, name):
    return read({file.name: file.read_bytes() for file in (path / "checkpoints" / name).iterdir()})


def kept_in(path):
    return {child.name for child in (path / "checkpoints").iterdir() if not child.name.startswith(".")}


def test_a_run_stops_and_resume_makes_the_step_again(folder, capsys):
    assert main(["--quiet", *DIVERGES]) == 1
    said = capsys.readouterr().err
    assert said.startswith("bptrain: step ")
    assert len(said.splitlines()) == 1
    for word in ("of epoch 1: its loss", "It begins with torch.", "Rows of the training part:", "optimizer.lr"):
        assert word in said
    (path,) = (folder / "outputs" / "tiny").iterdir()
    summary = json.loads((path / "summary.json").read_text())
    (found,) = summary["nonfinite"]
    assert summary["status"] == "failed"
    assert found["call"] in summary["reason"]
    assert found["rows"]
    for name in ("last", "nonfinite"):
        made = checkpoint(path, name)
        assert made.snapshot.rest["step"] == found["step"] - 1 == summary["steps"]
        assert all(tensor.isfinite().all() for tensor in made.snapshot.model.values())
    assert main(["resume", str(path), "--quiet"]) == 1
    assert capsys.readouterr().err == said


def test_a_row_that_is_too_large_is_left_out_with_its_step_and_named(folder, capsys):
    rows = [f"{i},{i % 7},{i + 2 * (i % 7)}" for i in range(60)]
    (folder / "my.csv").write_text("a,b,y\n" + "\n".join([*rows, "3e38,3e38,5"]) + "\n")
    words = ["data=csv", "data.path=my.csv", "data.target=y", "data.standardize=false", "loss=mse", "name=tiny"]
    words += ["data.split.validation=0", "data.split.test=0", "fit.on_nonfinite=skip", "fit.epochs=3"]
    assert main([*words, "model/activation=relu", "check.enabled=false"]) == 0
    said = capsys.readouterr().out
    assert said.count("It is left out.") == 3
    (path,) = (folder / "outputs" / "tiny").iterdir()
    summary = json.loads((path / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert {tuple(found["rows"]) for found in summary["nonfinite"]} == {tuple(summary["nonfinite"][0]["rows"])}
    assert len(summary["nonfinite"][0]["rows"]) == 1
    assert all(tensor.isfinite().all() for tensor in checkpoint(path, "last").snapshot.model.values())


def test_the_best_epochs_are_kept(folder):
    words = ["data=iris", "model.sizes=[5]", "name=tiny", "fit.checkpoint.keep=[last,top-2]", "fit.epochs=6"]
    assert main(["--quiet", *words, "monitor=loss", "optimizer.lr=0.3", "fit.batch_size=40"]) == 0
    (path,) = (folder / "outputs" / "tiny").iterdir()
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    losses = {line["epoch"]: line["loss"] for line in lines if line["split"] == "validation"}
    best = sorted(losses, key=losses.__getitem__)[:2]
    assert kept_in(path) == {"last", *(f"epoch-{epoch}" for epoch in best)}
    assert [checkpoint(path, f"epoch-{epoch}").snapshot.rest["epoch"] for epoch in best] == best
    assert main(["--quiet", "resume", str(path), "fit.epochs=9"]) == 0
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    losses = {line["epoch"]: line["loss"] for line in lines if line["split"] == "validation"}
    best = sorted(losses, key=losses.__getitem__)[:2]
    assert kept_in(path) == {"last", *(f"epoch-{epoch}" for epoch in best)}


def test_a_state_that_cannot_be_kept_is_refused(capsys):
    assert main(["fit.checkpoint.keep=[lst]"]) == 2
    assert "fit.checkpoint.keep: there is no state 'lst'. Did you mean 'last'?" in capsys.readouterr().err
    assert main(["fit.checkpoint.keep=[top-0]"]) == 2
