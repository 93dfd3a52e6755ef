"""A population that was interrupted goes on: its members come out as those of one that never was, to the bit."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bptrain.cli.main import main
from bptrain.sweep import population
from bptrain.train import decisions
from bptrain.train.member import Member
from bptrain.train.record import Evaluated

HERE = ["sweep.executor=population", "sweep.processes=1"]
TINY = ["data=iris", "model.sizes=[4]", "model.dropout=0.2", "name=tiny", "fit.batch_size=16", "check.enabled=false"]
UNEQUAL = [*TINY, *HERE, "fit.epochs=2,6", "seed=0,1"]  # two are through early, and their seats are taken away


def sweeps(folder):
    return sorted(folder.glob("outputs/tiny/sweeps/*"), key=os.path.getmtime)


def read(path):
    return json.loads(path.read_text())


def left(sweep):
    """What each member has left, but for times."""
    found = {}
    for run in sorted(path for path in sweep.iterdir() if path.is_dir()):
        summary = read(run / "summary.json")
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for value in (summary, *lines):
            for key in ("seconds", "samples_per_second"):
                value.pop(key, None)
        tensors = {
            str(path.relative_to(run)): path.read_bytes() for path in run.glob("checkpoints/[!.]*/*.safetensors")
        }
        found[run.name] = (summary, lines, tensors, read(run / "checkpoints/last/state.json")["generators"])
    return found


def interrupted(folder, monkeypatch, words, evaluations):
    """A sweep that ends after so many evaluations of its members."""
    count = itertools.count(1)

    class Interrupted(population.Population):
        def fit(self):
            for told in super().fit():
                yield told
                if isinstance(told[1], Evaluated) and next(count) == evaluations:
                    raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(population, "Population", Interrupted)
        assert main(["-q", "-m", *words]) == 130
    return sweeps(folder)[-1]


def takes(monkeypatch, seconds):
    """A step alone takes so long, as far as is known: when that is less than one stacked, members take turns."""
    monkeypatch.setattr(Member, "seconds", lambda *_: seconds)


def test_members_of_an_interrupted_population_come_out_as_those_of_a_whole_one(folder, monkeypatch, capsys):
    takes(monkeypatch, 0.0)
    assert main(["-q", "-m", *UNEQUAL]) == 0
    (whole,) = sweeps(folder)
    assert "take turns" in (whole / "3" / "train.log").read_text()
    part = interrupted(folder, monkeypatch, UNEQUAL, 10)
    trials = read(part / "sweep.json")["trials"]
    assert [trial["status"] for trial in trials] == ["finished", "finished", "interrupted", "interrupted"]
    kept = (part / "0" / "summary.json").stat().st_mtime_ns
    takes(monkeypatch, 1e9)  # what time would decide now counts no more
    assert main(["resume", str(part)]) == 0
    assert "4 trials as one program, from their start again" in capsys.readouterr().out
    assert left(part) == left(whole)
    assert (part / "0" / "summary.json").stat().st_mtime_ns == kept
    assert main(["resume", str(part)]) == 0
    assert "all of its 4 trials have finished" in capsys.readouterr().out


def test_parts_stay_as_they_were_cut_whatever_is_left_of_them(folder, monkeypatch):
    takes(monkeypatch, 1e9)
    words = [*TINY, *HERE, "fit.epochs=3", "seed=range(5)"]
    with monkeypatch.context() as patch:
        patch.setattr(population, "_parts", lambda group: [group[:3], group[3:]])
        assert main(["-q", "-m", *words]) == 0
        (whole,) = sweeps(folder)
        part = interrupted(folder, monkeypatch, words, 10)
    assert [cut["trials"] for cut in read(part / "sweep.json")["parts"]] == [[0, 1, 2], [3, 4]]
    kept = (part / "0" / "summary.json").stat().st_mtime_ns
    assert main(["-q", "resume", str(part)]) == 0
    assert left(part) == left(whole)
    assert (part / "0" / "summary.json").stat().st_mtime_ns == kept


@pytest.mark.slow
def test_programs_are_compiled_from_the_same_step_on(folder, monkeypatch):
    takes(monkeypatch, 1e9)
    words = [*UNEQUAL, "fit.drop_last=true", "sweep.max_members=2"]
    monkeypatch.setattr(decisions, "GAIN", 1e9)  # it pays
    assert main(["-q", "-m", *words]) == 0
    (whole,) = sweeps(folder)
    assert "compiled in" in (whole / "0" / "train.log").read_text()
    monkeypatch.setattr(decisions, "GAIN", 0.0)
    assert main(["-q", "-m", *words]) == 0
    by_call = sweeps(folder)[-1]
    assert left(by_call) != left(whole)
    for evaluations, again in ((3, "01"), (10, "0123")):  # the second part takes up what the first had compiled
        monkeypatch.setattr(decisions, "GAIN", 1e9)
        part = interrupted(folder, monkeypatch, words, evaluations)
        monkeypatch.setattr(decisions, "GAIN", 0.0)
        assert main(["-q", "resume", str(part)]) == 0
        found, expected = left(part), left(whole)
        assert {key for key in found if found[key] == expected[key]} == {*again}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_population_in_two_processes_that_is_ended_by_a_signal_goes_on(folder, number):
    words = [*TINY, "fit.deterministic=true", "sweep.executor=population", "sweep.processes=2", "sweep.max_members=2"]
    words += ["seed=0,1", "fit.epochs=30,200"]
    command = [sys.executable, "-m", "bptrain", "-q", "-m", *words]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and len(list(folder.rglob("metrics.jsonl"))) < 4:
        time.sleep(0.02)
    time.sleep(0.1)
    if number == signal.SIGKILL:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    process.wait(60)
    assert process.returncode == (130 if number == signal.SIGTERM else -number)
    (part,) = sweeps(folder)
    assert main(["-q", "resume", str(part)]) == 0
    assert main(["-q", "-m", *words]) == 0
    assert left(part) == left(sweeps(folder)[-1])


def test_a_member_by_itself_is_refused_unless_it_may_round_otherwise(folder, monkeypatch, capsys):
    part = interrupted(folder, monkeypatch, UNEQUAL, 6)
    assert main(["resume", str(part / "3")]) == 2
    err = capsys.readouterr().err
    assert f"{part / '3'}: is a member of a population: bptrain resume {part} goes on with all of it." in err
    assert main(["-q", "resume", str(part / "3"), "resume.allow=population"]) == 0
    assert read(part / "3" / "summary.json")["epochs"] == 6


def test_a_part_whose_bits_would_be_others_now_is_refused(folder, monkeypatch, capsys):
    part = interrupted(folder, monkeypatch, UNEQUAL, 6)
    lock = read(part / "1" / "lock.json")
    lock["versions"]["torch"] = "1.0"
    (part / "1" / "lock.json").write_text(json.dumps(lock))
    before = left(part)
    assert main(["resume", str(part)]) == 2
    assert "torch was 1.0 in this run" in capsys.readouterr().err
    assert left(part) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shares", [[0, 1, 2]]),
        ("shares", "x"),
        ("parts", [3]),
        ("parts", [{"trials": [0, 0], "decisions": []}]),
        ("parts", [{"trials": [0, 9], "decisions": []}]),
        ("parts", [{"trials": [0, 1], "decisions": ["perhaps"]}]),
        ("parts", [{"trials": [0, 1], "decisions": [[]]}]),
    ],
)
def test_a_cut_that_no_sweep_has_written_is_refused(folder, capsys, key, value):
    sweep = folder / "sweep"
    sweep.mkdir()
    (sweep / "sweep.json").write_text(json.dumps({"words": UNEQUAL, "trials": []} | {key: value}))
    assert main(["resume", str(sweep)]) == 2
    assert "that no sweep has written" in capsys.readouterr().err
