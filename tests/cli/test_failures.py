"""Runs that fail, and outputs that do: what is said, and what stands on disk afterwards."""

import json
import os
import subprocess
import sys

import pytest
import torch

from bptrain.cli.main import main
from bptrain.report.console import Console
from bptrain.train import run

TINY = ["data=iris", "model.sizes=[4]", "fit.epochs=2", "name=tiny"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def only(pattern, folder):
    (found,) = folder.glob(pattern)
    return found


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("{} > /dev/full", "bptrain: stdout: No space left on device. Nothing more is printed.\n"),
        ("set -o pipefail; {} | head -1 > /dev/null", ""),
    ],
    ids=["full", "head"],
)
def test_a_stdout_that_breaks_does_not_end_the_run(folder, command, said):
    line = f"{sys.executable} -m bptrain {' '.join(TINY)}".replace("[", "\\[")
    done = subprocess.run(["bash", "-c", command.format(line)], capture_output=True, text=True, check=True)
    assert done.stderr == said
    assert json.loads(only("outputs/tiny/*/summary.json", folder).read_text())["status"] == "finished"
    assert "epoch 2/2" in only("outputs/tiny/*/train.log", folder).read_text()


def test_a_character_that_the_locale_lacks_fails_no_run(folder):
    (folder / "\xe9.csv").write_text("x,y\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(40)))
    data = ["data=csv", "data.path='\xe9.csv'", "data.target=y"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "bptrain", *TINY, *data]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "\\xe9.csv" in done.stdout


def test_a_run_that_fails_before_its_first_record_is_on_record(folder, monkeypatch, capsys):
    def header(self, run, overrides):
        raise RuntimeError("no\nheader")

    monkeypatch.setattr(Console, "header", header)
    assert main(TINY) == 1
    assert "no (RuntimeError)" in capsys.readouterr().err
    assert only("outputs/tiny/*/lock.json", folder).stat().st_size
    assert json.loads(only("outputs/tiny/*/summary.json", folder).read_text())["status"] == "failed"


def test_torch_out_of_memory_is_said_in_a_sentence(capsys, monkeypatch):
    monkeypatch.setattr(run, "build", lambda settings: torch.empty(2**58))  # more than any machine can address
    assert main(TINY) == 1
    assert "out of memory. Try a smaller" in capsys.readouterr().err


def test_a_check_of_a_loss_that_is_not_finite_has_failed(folder, capsys):
    rows = [f"{i}e37,{'ab'[i % 2]}" for i in range(30)]
    (folder / "my.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    data = ["data=csv", "data.path=my.csv", "data.target=y", "data.standardize=false", "model/activation=relu"]
    assert main(["check", *TINY, *data, "model.norm=layer"]) == 1
    assert "Look at the data and the settings of the model" in capsys.readouterr().err
