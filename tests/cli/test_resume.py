"""`bptrain resume`: whatever ended a run, it comes out as the one that was never interrupted, to the bit."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from bptrain.cli.main import main
from bptrain.config.compose import compose, settings_of
from bptrain.runs.directory import RunDirectory
from bptrain.sweep import job as jobs
from bptrain.train.fit import fit
from bptrain.train.record import Stepped
from bptrain.train.run import build

IRIS = ["data=iris", "model.sizes=[5]", "fit.batch_size=16", "fit.epochs=5", "scheduler=cosine"]
DIGITS = ["data=digits", "fit.epochs=2", "fit.batch_size=300"]
KINDS = {
    "mlp": [*IRIS, "model.dropout=0.3", "model.norm=batch", "optimizer=adam"],
    "accumulated": [*IRIS, "fit.accumulate=3", "fit.clip=0.1", "optimizer=sgd", "optimizer.momentum=0.9"],
    "patience": [*IRIS, "fit.patience=2", "fit.epochs=40", "scheduler=plateau", "optimizer.lr=0.1"],
    "sparse evaluation": [*IRIS, "fit.evaluate=2", "optimizer=rmsprop"],
    "cnn": [*DIGITS, "model=cnn", "model.channels=[3,4]", "model.norm=batch"],
    "cnn in bf16": [*DIGITS, "model=cnn", "model.channels=[3]", "precision=bf16"],
    "gru": [*DIGITS, "model=gru", "model.hidden=5", "model.dropout=0.2", "model.layers=2"],
    "lstm": [*DIGITS, "model=lstm", "model.hidden=5"],
    "lbfgs": [*IRIS, "optimizer=lbfgs", "optimizer.line_search_fn=strong_wolfe", "fit.epochs=9"],
    "cg": [*IRIS, "optimizer=cg", "scheduler=constant", "fit.epochs=9"],
    "muon": [*IRIS, "optimizer=muon"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def state_of(run):
    """What a run leaves, but for times."""
    left = {path.name: path.read_bytes() for path in (run / "checkpoints" / "last").iterdir()}
    state = json.loads(left.pop("state.json"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    timed = ("seconds", "samples_per_second", "gradients")
    for value in (summary, *lines):
        for key in timed:
            value.pop(key, None)
    del state["progress"], state["checksums"]
    return left, state, lines, summary


def stopped_after(words, steps, path, kind=Stepped):
    """A run that ends as by SIGKILL after some records: nothing is written for its end."""
    config = compose([*words, "name=tiny", "fit.checkpoint.every=1", "check.enabled=false"])
    run = build(settings_of(config))

    def records():
        count = 0
        for record in fit(run):
            yield record
            count += isinstance(record, kind)
            if count == steps:
                raise Killed

    made = jobs.job(run, config, records(), path, quiet=True)
    with pytest.raises(Killed):
        for _ in made:
            pass


class Killed(BaseException):
    pass


def trained(folder, *words):
    """The directory of a run of the command line, which must be the only one."""
    main(["-q", *IRIS, "name=tiny", *words])
    (run,) = folder.glob("outputs/tiny/*")
    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_cut_off_ends_as_the_one_that_was_not(folder, kind):
    words = [*KINDS[kind], "name=tiny", "fit.checkpoint.every=1", "check.enabled=false"]
    config = compose(words)
    whole = folder / "whole"
    jobs.train(build(settings_of(config)), config, whole, quiet=True)
    expected = state_of(whole)
    steps = expected[3]["steps"]
    for number, stop in enumerate({1, steps // 2, steps}):
        part = folder / f"part{number}"
        stopped_after(KINDS[kind], stop, part)
        jobs.resume(RunDirectory(part), quiet=True)
        assert state_of(part) == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_goes_on_where_it_was(folder, number):
    words = [*IRIS, "name=tiny", "fit.epochs=400", "model.dropout=0.2"]
    command = [sys.executable, "-m", "bptrain", "-q", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while (
        process.poll() is None
        and sum(p.read_text().count("\n") for p in folder.glob("outputs/tiny/*/metrics.jsonl")) < 9
    ):
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "bptrain: interrupted.\n")
    (run,) = folder.glob("outputs/tiny/*")
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    assert main(["resume", str(run), "-q"]) == 0
    config = compose(words)
    jobs.train(build(settings_of(config)), config, folder / "whole", quiet=True)
    assert state_of(run) == state_of(folder / "whole")


def test_a_run_that_has_finished_says_so_again_and_goes_on_with_more_epochs(folder, capsys):
    run = trained(folder)
    before = state_of(run)
    assert main(["resume", str(run)]) == 0
    assert state_of(run) == before
    assert main(["resume", str(run), "fit.epochs=7"]) == 0
    out = capsys.readouterr().out
    assert "resumed    from epoch 6, step 36" in out
    assert "epoch 7/7" in out
    assert json.loads((run / "summary.json").read_text())["epochs"] == 7
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()][-4:-2] == [6, 7]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("versions", "torch"), "1.0", ["torch was 1.0", "resume.allow=torch"]),
        (("threads",), 3, ["threads was 3", "resume.allow=threads"]),
        (("data", "fingerprint"), "x", ["data was x", "resume.allow=data"]),
        (("machine", "cpu_capability"), "NEON", ["processor was NEON", "resume.allow=processor"]),
        (("device",), "cuda:0", ["device was cuda:0", "resume.allow=device"]),
    ],
)
def test_what_would_give_other_bits_is_refused_by_name_unless_it_is_allowed(folder, capsys, path, value, words):
    run = trained(folder, "fit.epochs=1")
    lock = json.loads((run / "lock.json").read_text())
    part = lock
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    (run / "lock.json").write_text(json.dumps(lock))
    before = state_of(run)
    assert main(["resume", str(run), "fit.epochs=2"]) == 2
    err = capsys.readouterr().err
    for word in words:
        assert word in err
    assert err.count("\n") == 1
    assert state_of(run) == before
    assert main(["resume", str(run), "fit.epochs=2", words[1]]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lr=0.5"], "optimizer.lr: was 0.005 in this run, and is 0.5."),
        (["model=cnn"], "'model=cnn': a run that goes on keeps its parts"),
        (["~fit.clip"], "'~fit.clip': a run that goes on keeps its parts"),
        (["fit.epohs=3"], "fit.epohs"),
        (["fit.epochs=0"], "fit.epochs: must be at least 1"),
        (["name='${oc.env:HOME}'"], "resolver oc.env"),
    ],
)
def test_words_that_make_another_run_of_it_are_refused(folder, capsys, words, said):
    run = trained(folder, "fit.epochs=1", "optimizer.lr=0.005")
    assert main(["resume", str(run), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(folder, capsys):
    run = trained(folder, "fit.epochs=2")
    expected, last = state_of(run), run / "checkpoints" / "last"
    shutil.copytree(last, last.with_name(".last.old"))
    data = bytearray((last / "model.safetensors").read_bytes())
    data[-3] ^= 4
    (last / "model.safetensors").write_bytes(data)
    assert main(["resume", str(run)]) == 0
    assert re.search(r"damaged +\S*last: model.safetensors has changed since it was written: ", capsys.readouterr().out)
    assert state_of(run) == expected
    (last / "state.json").write_text("{}")
    assert main(["resume", str(run)]) == 2
    assert "state.json" in capsys.readouterr().err


def test_a_run_that_was_cut_off_before_its_first_checkpoint_starts_again(folder, capsys):
    run = trained(folder, "fit.epochs=2")
    expected = state_of(run)
    shutil.rmtree(run / "checkpoints")
    (run / "summary.json").unlink()
    assert main(["resume", str(run)]) == 0
    assert "resumed    from the start" in capsys.readouterr().out
    assert state_of(run) == expected


def test_a_second_process_is_refused_with_who_holds_the_run(folder, capsys):
    run = trained(folder, "fit.epochs=1")
    with RunDirectory(run).held():
        assert main(["resume", str(run)]) == 1
    assert f"{run.name} is being written by process {os.getpid()}" in capsys.readouterr().err
    (run / ".lock").write_text("process 1\n")  # of one that has died
    assert main(["resume", str(run), "-q"]) == 0


def test_what_is_no_run_is_said(folder, capsys):
    run = trained(folder, "fit.epochs=1")
    (folder / "link").symlink_to(run)
    (folder / "empty").mkdir()
    for words, said in (
        ([], "which run?"),
        (["nowhere"], "nowhere: is no directory of a run"),
        (["link"], "link: is no directory of a run"),
        (["empty"], "empty: has no lock.json that can be read"),
    ):
        assert main(["resume", *words]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["metrics.jsonl", "train.log", "checkpoints", "checkpoints/last/state.json"])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_nothing_is_written_through_a_link(folder, capsys, name, link):
    run = trained(folder, "fit.epochs=1")
    elsewhere = folder / "elsewhere"
    (run / name).rename(elsewhere)
    if link is os.link and elsewhere.is_dir():
        link = os.symlink  # there are no hard links of directories
    link(elsewhere, run / name)
    before = elsewhere.stat().st_mtime_ns
    assert main(["resume", str(run), "fit.epochs=2"]) == 2
    assert f"{name}: is a link" in capsys.readouterr().err
    assert elsewhere.stat().st_mtime_ns == before


def test_metrics_that_have_lost_lines_are_no_metrics_to_go_on_with(folder, capsys):
    run = trained(folder, "fit.epochs=2")
    (run / "metrics.jsonl").write_text("")
    assert main(["resume", str(run), "fit.epochs=3"]) == 1
    assert "metrics.jsonl has 0 bytes, and had" in capsys.readouterr().err


@pytest.mark.parametrize("scheduler", ["constant", "cosine"])
def test_an_option_that_may_change_takes_effect(folder, scheduler):
    words = ["--quiet", *IRIS[:-1], f"scheduler={scheduler}", "optimizer=sgd", "optimizer.lr=0.1", "name=tiny"]
    assert main(words) == 0
    (path,) = (folder / "outputs" / "tiny").iterdir()
    changed = ["optimizer.lr=0.2", "optimizer.momentum=0.5", "fit.epochs=6"]
    assert main(["--quiet", "resume", str(path), *changed, "resume.allow=[optimizer.lr,optimizer.momentum]"]) == 0
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    last = [line["lr"] for line in lines if line["split"] == "train"][-1]
    assert last == 0.2 if scheduler == "constant" else 0 < last < 0.2
    state = json.loads((path / "checkpoints" / "last" / "state.json").read_text())
    assert state["optimizer"]["param_groups"][0]["momentum"] == 0.5
