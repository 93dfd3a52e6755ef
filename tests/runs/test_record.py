"""What a run leaves on disk, record by record."""

import json
import re

import pytest

from bptrain.check.report import GradientReport
from bptrain.check.step_report import StepReport
from bptrain.check.tolerance import GradientError
from bptrain.cli.main import main
from bptrain.config.compose import compose, settings_of
from bptrain.errors import RunFailed
from bptrain.runs.directory import RunDirectory
from bptrain.runs.record import keep
from bptrain.train.fit import fit
from bptrain.train.record import Checked
from bptrain.train.run import build

TINY = ["data=iris", "model.sizes=[4]", "fit.epochs=2", "name=tiny"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_directory(*overrides):
    config = compose([*TINY, *overrides])
    run = build(settings_of(config))
    return run, config, RunDirectory.create("tiny")


def strictly(path):
    """The objects in a file of JSON lines, or of one value, by the letter of the standard."""

    def refuse(word):
        raise AssertionError(f"{word} in {path}")

    text = path.read_text()
    texts = text.splitlines() if path.suffix == ".jsonl" else [text]
    return [json.loads(line, parse_constant=refuse) for line in texts]


def checked(verdict, error):
    report = StepReport(GradientReport([], {"weight": GradientError(error, 1e-7, verdict)}))
    return Checked(0, 0.1, report, 4, 4)


@pytest.mark.parametrize(
    ("checks", "verdict", "error"),
    [
        ([("unverified", 1e-9), ("verified", 1e-6)], "unverified", 1e-9),
        ([("verified", 1e-6), ("numerical", 1e-9)], "numerical", 1e-9),
        ([("verified", 1e-6), ("verified", 1e-7)], "verified", 1e-6),
        ([("verified", 1e-7), ("verified", 1e-6)], "verified", 1e-6),
    ],
)
def test_the_summary_has_the_worst_verdict_and_then_the_largest_error(checks, verdict, error):
    run, config, directory = run_directory()
    list(keep(run, config, directory, [checked(*check) for check in checks]))
    found = directory.read_json("summary.json")["gradients"]
    assert (found["verdict"], found["worst"]["error"]) == (verdict, error)


def test_the_certificate_says_how_many_rows_of_the_batch_were_checked():
    for overrides, rows in ((["check.rows=5"], 5), ([], 16)):
        run, config, directory = run_directory("fit.batch_size=16", *overrides)
        list(keep(run, config, directory, fit(run)))
        certificate = directory.read_json("gradients.json")
        assert (certificate["rows"], certificate["batch_rows"]) == (rows, 16)


@pytest.mark.parametrize("keep", ["[last]", "[best]", "[last,best]", "[]"])
def test_the_checkpoints_that_are_kept_are_those_that_are_named(folder, keep):
    assert main([*TINY, "-q", f"fit.checkpoint.keep={keep}"]) == 0
    found = {path.name for path in folder.glob("outputs/tiny/*/checkpoints/*")}
    assert found == set(keep.strip("[]").split(",")) - {""}


def test_a_validation_loss_that_is_no_number_fails_the_run_and_leaves_valid_json(folder, capsys):
    rows = [f"{x},{y}" for x, y in zip(range(12), "ab" * 6, strict=True)] + ["3e38,a"] * 3 + ["1,b"] * 3
    (folder / "my.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    data = ["data=csv", "data.path=my.csv", "data.target=y", "data.split.by=order", "data.standardize=false"]
    words = [*TINY, *data, "model/activation=relu", "model.sizes=[40]", "model.norm=layer", "monitor=loss"]
    words += ["data.split.validation=0.17", "data.split.test=0.17", "fit.epochs=1"]
    assert main(words) == 1
    assert "epoch 1: the validation loss is nan" in capsys.readouterr().err
    (run,) = folder.glob("outputs/tiny/*")
    (summary,) = strictly(run / "summary.json")
    assert summary["status"] == "failed"
    assert main(["runs"]) == 0
    assert re.search(r"failed +-", capsys.readouterr().out)
    assert main(["-m", *words, "seed=0,1"]) == 1
    (sweep,) = folder.glob("outputs/tiny/sweeps/*")
    strictly(sweep / "sweep.json")


def test_a_last_checkpoint_that_can_not_be_written_fails_the_run():
    run, config, directory = run_directory()
    (directory.path / "checkpoints").write_text("a file in the way")
    with pytest.raises(RunFailed, match="checkpoints"):
        list(keep(run, config, directory, fit(run)))
    summary = directory.read_json("summary.json")
    assert summary["status"] == "failed"
    assert "checkpoints" in summary["reason"]
    assert summary["steps"] == run.total_steps


def test_a_run_that_is_left_in_the_middle_is_interrupted():
    run, config, directory = run_directory()
    records = keep(run, config, directory, fit(run))
    for _ in range(3):
        next(records)
    assert directory.read_json("summary.json") == {}
    records.close()
    summary = directory.read_json("summary.json")
    assert summary["status"] == "interrupted"
    assert summary["steps"] == run.state.step == 2
    assert json.loads((directory.path / "checkpoints" / "last" / "state.json").read_text())["step"] == 2
