"""The population executor: what it trains together, what alone and why, and what it leaves on disk."""

import json
import os

import numpy as np
import pytest

from bptrain.cli.main import main
from bptrain.sweep import population

HERE = ["sweep.executor=population", "sweep.processes=1"]
TINY = ["data=iris", "model.sizes=[4]", "fit.epochs=2", "name=tiny", *HERE]


def sweeps(folder):
    return sorted(folder.glob("outputs/tiny/sweeps/*"), key=os.path.getmtime)


def read(path):
    return json.loads(path.read_text())


def test_a_population_leaves_what_the_serial_executor_leaves(folder, capsys):
    words = ["-m", *TINY, "optimizer.lr=0.001,0.1", "seed=0,1"]
    assert main(words) == 0
    assert "4 trials as one program" in capsys.readouterr().out
    assert main([*words, "sweep.executor=serial"]) == 0
    (together, serial), _ = sweeps(folder), capsys.readouterr()
    theirs = {path.relative_to(serial) for path in serial.rglob("*") if path.is_file()}
    assert {path.relative_to(together) for path in together.rglob("*") if path.is_file()} == theirs
    for number in map(str, range(4)):
        mine, own = (read(sweep / number / "summary.json") for sweep in (together, serial))
        assert mine["gradients"]["verdict"] == "verified"
        assert mine["status"] == "finished"
        for key in ("best", "test", "final"):
            assert flat(mine[key]) == pytest.approx(flat(own[key]), abs=1e-5)
        assert [mine[key] for key in ("steps", "epochs")] == [own[key] for key in ("steps", "epochs")]
        lines = [(sweep / number / "metrics.jsonl").read_text().count("\n") for sweep in (together, serial)]
        assert lines[0] == lines[1]
        assert read(together / number / "lock.json")["engine"] == "population"
        assert (together / number / "train.log").read_text().count("\nepoch ") == 2
    assert [t["overrides"] for t in read(together / "sweep.json")["trials"]] == [
        t["overrides"] for t in read(serial / "sweep.json")["trials"]
    ]


def flat(scores, before=""):
    found = {}
    for key, value in scores.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def test_shapes_form_groups_and_what_is_left_goes_alone_with_the_reason(folder, capsys):
    assert main(["-m", *TINY, "model.sizes=[4],[5],[6]", "seed=0,1", "optimizer=adam"]) == 0
    assert capsys.readouterr().out.count("2 trials as one program") == 3
    assert main(["-m", *TINY, "model.sizes=[4],[5]"]) == 0
    assert capsys.readouterr().out.count("no other trial has its shapes") == 2
    assert main(["-m", *TINY, "optimizer=nadam", "seed=0,1"]) == 0
    out = capsys.readouterr().out
    assert "alone       trial 0: nadam has no step for stacked networks" in out
    assert "2 finished, 0 failed" in out


def test_max_members_caps_what_trains_together(folder, capsys):
    assert main(["-m", *TINY, "seed=range(5)", "sweep.max_members=2"]) == 0
    out = capsys.readouterr().out
    assert "5 trials as one program, by 2" in out
    assert "5 finished, 0 failed" in out


def test_memory_bounds_a_group(folder, capsys, monkeypatch):
    monkeypatch.setattr(population, "CACHE", 1)
    assert main(["-m", *TINY, "seed=range(4)"]) == 0
    assert "4 trials as one program, by 2" in capsys.readouterr().out


def test_a_trial_that_cannot_be_built_or_diverges_fails_alone(folder, capsys):
    assert main(["-m", *TINY, "optimizer=sgd", "optimizer.lr=0.1,1e38", "seed=0,1"]) == 1
    out = capsys.readouterr().out
    assert "2 finished, 2 failed" in out
    (sweep,) = sweeps(folder)
    assert [t["status"] for t in read(sweep / "sweep.json")["trials"]] == ["finished"] * 2 + ["failed"] * 2
    assert read(sweep / "2" / "summary.json")["status"] == "failed"
    assert "diverged" in read(sweep / "3" / "summary.json")["reason"]
    assert main(["-m", *TINY, "model=cnn,mlp", "~model.sizes"]) == 1
    assert "1 finished, 1 failed" in capsys.readouterr().out


def test_an_interrupt_leaves_a_summary_in_each_run(folder, capsys, monkeypatch):
    class Interrupted(population.Population):
        def fit(self):
            for number, told in enumerate(super().fit()):
                if number == 9:
                    raise KeyboardInterrupt
                yield told

    monkeypatch.setattr(population, "Population", Interrupted)
    assert main(["-m", *TINY, "seed=range(3)"]) == 130
    (sweep,) = sweeps(folder)
    assert [t["status"] for t in read(sweep / "sweep.json")["trials"]] == ["interrupted"] * 3
    for number in "012":
        summary = read(sweep / number / "summary.json")
        assert (summary["status"], summary["steps"] > 0) == ("interrupted", True)
        assert (sweep / number / "checkpoints" / "last" / "state.json").exists()


def test_a_sweep_has_one_executor(capsys):
    assert main(["-m", *TINY[:-1], "sweep.executor=serial,population"]) == 2
    assert "sweep" in capsys.readouterr().err


def test_a_full_disk_ends_one_trial_and_not_the_others(folder, capsys, monkeypatch):
    write = population.job.__globals__["RunDirectory"].write_checkpoint

    def full(self, *arguments):
        if self.path.name == "1":
            raise population.BptrainError("no space left")
        write(self, *arguments)

    monkeypatch.setattr(population.job.__globals__["RunDirectory"], "write_checkpoint", full)
    assert main(["-m", *TINY, "seed=range(3)", "fit.checkpoint.every=1"]) == 1
    assert "2 finished, 1 failed" in capsys.readouterr().out


def test_a_sweep_of_which_no_trial_can_be_built_is_one_message_and_nothing_written(folder, capsys):
    words = ["data=csv", "data.path=no.csv,neither.csv", "data.target=y", *HERE]
    assert main(["-m", *words]) == 2
    err = capsys.readouterr().err
    assert "no.csv" in err
    assert "neither.csv" in err
    assert list(folder.iterdir()) == []


def test_data_that_is_not_in_memory_goes_alone(folder, capsys):
    np.save("x.npy", np.random.default_rng(0).normal(size=(40, 3)).astype("float32"))
    np.save("y.npy", np.arange(40) % 2)
    words = ["data=npy", "data.path=x.npy", "data.target=y.npy", "name=tiny", "fit.epochs=1"]
    assert main(["-m", *words, *HERE, "seed=0,1"]) == 0
    assert "trial 0: its data is not in memory" in capsys.readouterr().out
