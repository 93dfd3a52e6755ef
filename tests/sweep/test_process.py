"""Sweeps in several processes: what they leave, and what becomes of them when one of them ends."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bptrain.cli.main import main

TINY = ["data=iris", "fit.epochs=2", "name=tiny"]
MORTAL = """
import os
import signal
import torch

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
        self.mortal = torch.initial_seed() == 2
        if torch.initial_seed() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def forward(self, x):
        if self.mortal and torch.is_grad_enabled():
            os._exit(7)
        return super().forward(x)
"""


def sweeps(folder):
    return sorted(folder.glob("outputs/tiny/sweeps/*"), key=os.path.getmtime)


def trials(sweep):
    return json.loads((sweep / "sweep.json").read_text())["trials"]


def alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_leave_what_one_leaves_and_one_that_dies_costs_its_own_trials(folder, capsys, monkeypatch):
    (folder / "mortal.py").write_text(MORTAL)
    monkeypatch.syspath_prepend(folder)
    words = [*TINY, "model=custom", "model.path=mortal:Net", "trust=mortal", "check.enabled=false"]
    assert main(["-m", *words, "sweep.executor=process", "sweep.processes=2", "seed=range(5)"]) == 1
    out = capsys.readouterr().out
    assert "trial" in out
    assert "3 finished, 2 failed" in out
    assert main(["-m", *words, "seed=0,3,4"]) == 0
    together, serial = sweeps(folder)
    found = trials(together)
    assert [trial["status"] for trial in found] == ["finished", "failed", "failed", "finished", "finished"]
    assert "has died: Killed" in found[1]["reason"]
    assert "has died: exit code 7" in found[2]["reason"]
    for number, other in zip("034", "012", strict=True):
        mine, theirs = together / number, serial / other
        assert [p.name for p in sorted(mine.rglob("*"))] == [p.name for p in sorted(theirs.rglob("*"))]
        weights = [(run / "checkpoints" / "last" / "model.safetensors").read_bytes() for run in (mine, theirs)]
        assert weights[0] == weights[1]


def test_a_population_is_shared_by_processes_group_by_group(folder, capsys):
    words = [*TINY, "sweep.executor=population", "sweep.processes=2", "sweep.max_members=2"]
    assert main(["-m", *words, "model.sizes=[4],[5],[no]", "seed=0,1"]) == 2
    assert "model.sizes" in capsys.readouterr().err
    assert not (folder / "outputs").exists()
    assert main(["-m", *words, "model.sizes=[4],[5]", "seed=0,1"]) == 0
    out = capsys.readouterr().out
    assert out.count("2 trials as one program") == 2
    assert "4 finished, 0 failed" in out
    (sweep,) = sweeps(folder)
    assert [trial["number"] for trial in trials(sweep)] == [0, 1, 2, 3]


def test_a_sweep_in_processes_of_which_no_trial_can_be_built_is_one_message_and_nothing_written(folder, capsys):
    words = ["data=csv", "data.path=no.csv,neither.csv", "data.target=y", "sweep.executor=process", "sweep.processes=2"]
    assert main(["-m", *words]) == 2
    err = capsys.readouterr().err
    assert err.count("no.csv") == 1
    assert err.count("neither.csv") == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_ends_all_processes_with_their_trials_on_record(folder, number):
    words = [*TINY, "fit.epochs=1000000", "sweep.executor=process", "sweep.processes=2", "seed=0,1,2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bptrain", "-m", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(list(folder.glob("outputs/tiny/sweeps/*/*/metrics.jsonl"))) < 2 and process.poll() is None:
        time.sleep(0.02)
    # A terminal's Ctrl-C reaches all processes, `kill` the first alone.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    deadline = time.monotonic() + 30
    while alive(process.pid):  # what Python has started for the workers ends by itself
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (sweep,) = sweeps(folder)
    assert [trial["status"] for trial in trials(sweep)] == ["interrupted"] * 2
    for run in "01":
        assert json.loads((sweep / run / "summary.json").read_text())["status"] == "interrupted"


def test_the_serial_executor_has_one_process(capsys):
    assert main(["-m", *TINY, "sweep.processes=2", "seed=0,1"]) == 2
    assert (
        "sweep.processes: the serial executor has one process. Write sweep.executor=process." in capsys.readouterr().err
    )
