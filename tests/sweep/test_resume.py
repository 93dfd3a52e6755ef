"""A sweep that was interrupted goes on: what has finished stays, what was running goes on, the rest begins."""

import json

import pytest

from bptrain.cli.main import main
from bptrain.sweep import job as jobs
from bptrain.train.record import Evaluated

TINY = ["data=iris", "model.sizes=[4]", "fit.epochs=4", "model.dropout=0.2", "name=tiny", "seed=range(4)"]


def interrupted(folder, monkeypatch, *words):
    """A sweep that ends in the second epoch of its third trial."""
    fit, count = jobs.fit, 0

    def fitting(run):
        nonlocal count
        for record in fit(run):
            yield record
            count += isinstance(record, Evaluated)
            if count == 10:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "fit", fitting)
        assert main(["-q", "-m", *TINY, *words]) == 130
    (sweep,) = folder.glob("outputs/tiny/sweeps/*")
    return sweep


def lines(run):
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


@pytest.mark.parametrize("words", [[], ["sweep.executor=population", "sweep.processes=1", "optimizer=nadam"]], ids=str)
def test_an_interrupted_sweep_goes_on_and_leaves_what_a_whole_one_leaves(folder, monkeypatch, capsys, words):
    sweep = interrupted(folder, monkeypatch, *words)
    statuses = [trial["status"] for trial in json.loads((sweep / "sweep.json").read_text())["trials"]]
    assert statuses == ["finished", "finished", "interrupted"]
    before = (sweep / "0" / "summary.json").stat().st_mtime_ns
    assert main(["resume", str(sweep)]) == 0
    assert "4 finished, 0 failed" in capsys.readouterr().out
    assert (sweep / "0" / "summary.json").stat().st_mtime_ns == before
    assert main(["-q", "-m", *TINY, *words]) == 0
    (whole,) = (path for path in folder.glob("outputs/tiny/sweeps/*") if path != sweep)
    for number in "0123":
        assert lines(sweep / number) == lines(whole / number)
        weights = [(s / number / "checkpoints" / "last" / "model.safetensors").read_bytes() for s in (sweep, whole)]
        assert weights[0] == weights[1]
    assert main(["resume", str(sweep)]) == 0
    assert "all of its 4 trials have finished" in capsys.readouterr().out


def test_a_sweep_whose_plan_has_changed_or_cannot_be_read_is_refused(folder, monkeypatch, capsys):
    sweep = interrupted(folder, monkeypatch)
    assert main(["resume", str(sweep), "optimizer.lr=1"]) == 2
    assert "'optimizer.lr=1': changes trials of a sweep" in capsys.readouterr().err
    told = json.loads((sweep / "sweep.json").read_text())
    assert told["words"] == TINY
    told["words"][-1] = "seed=range(3,9)"
    (sweep / "sweep.json").write_text(json.dumps(told))
    assert main(["resume", str(sweep)]) == 2
    assert "its trials are others now" in capsys.readouterr().err
    (sweep / "sweep.json").write_text("[]")
    assert main(["resume", str(sweep)]) == 2
    assert "has no sweep.json that can be read" in capsys.readouterr().err


def test_trust_is_not_remembered(folder, monkeypatch, capsys):
    (folder / "mine.py").write_text("import torch\n\nNet = lambda: torch.nn.Linear(4, 3)\n")
    monkeypatch.syspath_prepend(folder)
    own = ["model=custom", "model.path=mine:Net", "trust=mine"]
    words = [word for word in TINY if not word.startswith("model.")]
    assert main(["-q", "-m", *words, *own]) == 0
    (sweep,) = folder.glob("outputs/tiny/sweeps/*")
    told = json.loads((sweep / "sweep.json").read_text())
    assert "trust" not in " ".join(told["words"])
    told["trials"][1]["status"] = "interrupted"
    (sweep / "sweep.json").write_text(json.dumps(told))
    assert main(["resume", str(sweep)]) == 2
    assert "trust=mine" in capsys.readouterr().err
    assert main(["resume", str(sweep), "trust=mine"]) == 0
