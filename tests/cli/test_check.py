"""`bptrain check`: steps in memory, each of them checked."""

import re

import pytest

from bptrain.cli.main import main
from bptrain.train.engine import Eager

TINY = ["check", "data=iris", "model.sizes=[4]", "fit.epochs=2", "name=tiny"]
VERIFIED = re.compile(r"^(?:step (\d+): )?Gradients verified: .* Step verified: loss, .* \d+\.\d s", re.MULTILINE)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys, *words):
    assert main([*TINY, *words]) == 0
    return capsys.readouterr().out


def steps(out):
    return [int(step or 1) for step in VERIFIED.findall(out)]


def test_a_trajectory_is_trained_in_memory_and_each_step_checked(capsys, folder):
    out = said(capsys, "steps=6", "fit.clip=0.1", "model.norm=batch")
    assert steps(out) == [1, 2, 3, 4, 5, 6]
    rows = [re.split(r" {2,}", line) for line in out.splitlines()]
    assert [row[1] for row in rows[rows.index(["verdict", "step", "error", "digits"]) + 1 :] if len(row) > 3] == [
        "loss",
        "5 gradients",
        re.search(r"clip factor [\d.]+", out)[0],
        "3 buffers",
        "learning rate 0.001",
        "update of Adam",
    ]
    assert not list(folder.iterdir())
    factors = re.findall(r"clip factor ([\d.]+), ", out)
    assert len(set(factors)) == 6  # the weights move


def test_one_step_is_checked_unless_more_are_asked_for(capsys):
    assert steps(said(capsys)) == [1]
    assert steps(said(capsys, "check.steps=3", "every=2")) == [1, 3]
    assert steps(said(capsys, "steps=2", "check.enabled=false")) == [1, 2]


def test_a_run_with_fewer_steps_says_so(capsys):
    out = said(capsys, "steps=20", "fit.batch_size=60")
    assert steps(out) == [1, 2, 3, 4]
    assert out.endswith("The run ends after 4 of the 20 steps.\n")


def test_keys_of_the_check_need_no_group_in_this_verb_alone(capsys):
    assert "check.rows: must be at least 2" in failed(capsys, [*TINY, "rows=1"])
    assert "check.strict" in failed(capsys, [*TINY, "strict=perhaps"])
    assert "steps: is not a key" in failed(capsys, [*TINY[1:], "steps=3"])
    assert main([*TINY, "rows=5", "--cfg", "job"]) == 0
    assert "  rows: 5\n" in capsys.readouterr().out


def failed(capsys, words):
    assert main(words) == 2
    return capsys.readouterr().err


def test_the_precision_is_named_and_its_digits_are_counted(capsys):
    out = said(capsys, "precision=bf16", "model.norm=layer")
    assert re.search(r"^device     cpu, 1 thread, seed 0, precision bf16$", out, re.MULTILINE)
    assert re.search(r"layers\.0\.norm +\S+ +\S+  \d\.\d of 2\.4$", out, re.MULTILINE)
    assert "precision" not in said(capsys)


def test_a_step_that_is_wrong_ends_with_its_number_and_exit_code_3(capsys, monkeypatch):
    class Keeping(Eager):
        def _forget(self):
            pass

    monkeypatch.setattr("bptrain.train.choice.Eager", Keeping)
    assert main([*TINY, "steps=5"]) == 3
    out, err = capsys.readouterr()
    assert steps(out) == [1]
    assert re.search(r"^wrong +4 gradients", out, re.MULTILINE)
    assert re.match(r"bptrain: step 2: The step is wrong: the gradients of .*: the gradients of the step before", err)
    assert main([*TINY[1:], "check.every=1"]) == 3


def test_a_rate_that_comes_a_step_late_is_named_with_exit_code_3(capsys, monkeypatch):
    class Late(Eager):
        held = None

        def step(self, batches):
            group = self.optimizer.param_groups[0]
            due, group["lr"] = group["lr"], self.held or group["lr"]
            loss = super().step(batches)
            group["lr"] = self.held = due
            return loss

    monkeypatch.setattr("bptrain.train.choice.Eager", Late)
    assert main([*TINY, "steps=20", "scheduler=cosine", "optimizer.lr=0.1"]) == 3
    out, err = capsys.readouterr()
    assert steps(out) == [1]
    assert re.search(r"^wrong +learning rate 0\.0\d+ ", out, re.MULTILINE)
    assert re.match(r"bptrain: step 2: The step is wrong: the learning rate of group 0 in step 2 is 0\.1, and ", err)
    assert err.endswith(" is due: one step late.\n")
    assert main([*TINY[1:], "scheduler=cosine", "check.enabled=false"]) == 0
