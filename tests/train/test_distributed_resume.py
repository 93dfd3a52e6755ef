"""A run of several processes goes on in as many, to the bit, though each draws dropout of its own.

Run as a script, this is what each of the processes does: a whole run, and one that is cut off and goes on.
"""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from bptrain.cli.main import main
from bptrain.config.compose import compose, settings_of
from bptrain.runs import checkpoints
from bptrain.runs.directory import RunDirectory
from bptrain.runs.lock import config_hash
from bptrain.runs.record import follow
from bptrain.sweep import job as jobs
from bptrain.train.distributed import connected, leave
from bptrain.train.fit import fit
from bptrain.train.record import Stepped
from bptrain.train.run import build

WORDS = ["data=iris", "model.sizes=[6,5]", "model.dropout=0.4", "model.norm=batch", "scheduler=cosine", "fit.epochs=3"]
WORDS += ["fit.batch_size=15", "check.enabled=false"]
STEPS = 11  # of 7 in an epoch
CADENCES = {"steps": "fit.checkpoint.every=1", "time": "fit.checkpoint.every=0.01s"}


class Killed(BaseException):
    pass


def cut_off(path, every):
    """A run that ends as by SIGKILL after some steps: nothing is written for its end."""
    config = compose([*WORDS, every])
    run = build(settings_of(config))

    def records():
        for record in fit(run):
            yield record
            if isinstance(record, Stepped) and record.step == STEPS:
                raise Killed

    followed = follow(run, records()) if run.ranks.rank else jobs.job(run, config, records(), path, quiet=True)
    with suppress(Killed):
        for _ in followed:
            pass


def take_part():
    if os.environ["RANK"] != "0":
        checkpoints.time = SimpleNamespace(perf_counter=lambda: time.perf_counter() / 9)  # clocks differ
    with connected("cpu"):
        for name in sys.argv[1:]:
            every = CADENCES[name]
            config = compose([*WORDS, every])
            jobs.train(build(settings_of(config)), config, Path(f"{name} whole"), quiet=True)
            cut = RunDirectory(Path(f"{name} cut"))
            cut_off(cut.path, every)
            if os.environ["RANK"] == "0":
                Path(f"{name} step").write_text(str(cut.read_json("checkpoints/last/state.json")["step"]))
            jobs.resume(cut, quiet=True)
    leave(0)


def left(run):
    """What a run leaves, but for times."""
    tensors = {path.name: path.read_bytes() for path in (run / "checkpoints" / "last").glob("*.safetensors")}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    for value in (summary, *lines):
        for key in ("seconds", "samples_per_second"):
            value.pop(key, None)
    return tensors, lines, summary, json.loads((run / "checkpoints/last/state.json").read_text())["generators"]


@pytest.mark.parametrize(("size", "cadences"), [(2, ["steps"]), pytest.param(3, [*CADENCES], marks=pytest.mark.slow)])
def test_a_run_that_was_cut_off_within_an_epoch_ends_as_the_one_that_was_not(
    tmp_path, size, cadences, capsys, together
):
    ended = together(size, tmp_path, __file__, *cadences)
    assert [code for code, *_ in ended] == [0] * size, ended
    for name in cadences:
        step = int((tmp_path / f"{name} step").read_text())
        assert step == STEPS if name == "steps" else 0 < step <= STEPS
        whole, cut = (left(tmp_path / f"{name} {what}") for what in ("whole", "cut"))
        assert len(set(whole[-1].values())) == size  # all drew, each from its own generator
        assert cut == whole
    assert main(["resume", str(tmp_path / "steps cut")]) == 2
    err = capsys.readouterr().err
    assert f"was trained by {size} processes of torchrun, and this is one process alone." in err
    assert f"Start torchrun --nproc-per-node {size} -m bptrain resume {tmp_path / 'steps cut'}." in err


def test_a_run_whose_shards_were_in_several_processes_is_refused(tmp_path, capsys):
    config = compose(["data=iris", "fit.epochs=1"])
    jobs.train(build(settings_of(config)), config, tmp_path, quiet=True)
    lock = json.loads((tmp_path / "lock.json").read_text())
    lock["config"]["fit"]["strategy"] = "fsdp"
    lock["config_hash"] = config_hash(lock["config"])
    (tmp_path / "lock.json").write_text(json.dumps(lock))
    assert main(["resume", str(tmp_path)]) == 2
    assert "was trained by fit.strategy=fsdp, and can't go on exactly." in capsys.readouterr().err


@pytest.mark.slow
def test_torchrun_resumes_a_run_by_its_directory_and_no_sweep_or_other_number(tmp_path, together):
    command = ["-m", "bptrain"]
    assert [code for code, *_ in together(2, tmp_path, *command, *WORDS, "name=two")] == [0, 0]
    (run,) = tmp_path.glob("outputs/two/*")
    (first, out, _), (second, *others) = together(2, tmp_path, *command, "resume", str(run), "fit.epochs=5")
    assert (first, second, others) == (0, 0, ["", ""])
    assert "epoch 5/5" in out
    assert [code for code, *_ in together(2, tmp_path, *command, *WORDS, "fit.epochs=5", "name=whole")] == [0, 0]
    assert json.loads((run / "summary.json").read_text())["epochs"] == 5
    for size, words, said in (
        (3, [str(run)], "was trained by 2 processes of torchrun, and this is 3 processes of torchrun."),
        (2, ["sweep"], "sweep: is a sweep, and torchrun starts processes that train one run together."),
    ):
        (tmp_path / "sweep").mkdir(exist_ok=True)
        (tmp_path / "sweep" / "sweep.json").write_text("{}")
        (code, _, err), *rest = together(size, tmp_path, *command, "resume", *words)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1
        assert [(other[0], other[2]) for other in rest] == [(2, "")] * (size - 1)


if __name__ == "__main__":
    take_part()
