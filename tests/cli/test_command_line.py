"""The command line from outside: exit codes, what is printed where, what lands on disk."""

import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from safetensors.torch import load_file

from bptrain.cli.main import main

TINY = ["data=iris", "model.sizes=[4]", "fit.epochs=2", "name=tiny"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def only(pattern, folder):
    (found,) = folder.glob(pattern)
    return found


def test_a_run_leaves_the_files_that_others_rely_on(folder, capsys):
    assert main(TINY) == 0
    run = only("outputs/tiny/*", folder)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", run.name)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["gradients"]["verdict"] == "verified"
    assert summary["gradients"]["coverage"] == {"calls": 1.0, "parameters": 1.0}
    assert 0 <= summary["test"]["accuracy"] <= 1
    assert set(summary["final"]) == {"train", "validation"}
    assert summary["best"]["epoch"] in (1, 2)
    assert summary["steps"] == 8
    assert summary["samples_per_second"] > 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines] == ["train", "validation", "train", "validation", "test"]
    assert {"step", "epoch", "split", "loss", "accuracy", "lr", "seconds"} == set(lines[1])
    lock = json.loads((run / "lock.json").read_text())
    assert lock["config"]["model"]["sizes"] == [4]
    assert lock["seed"] == 0
    assert lock["threads"] == 1
    assert lock["engine"] == "eager"
    assert len(lock["config_hash"]) == len(lock["data"]["fingerprint"]) == 64
    assert lock["versions"]["torch"].startswith("2.")
    certificate = json.loads((run / "gradients.json").read_text())
    assert [call["verdict"] for call in certificate["calls"]] == ["verified"] * len(certificate["calls"])
    for name in ("config.yaml", "overrides.yaml", "hydra.yaml"):
        assert (run / ".hydra" / name).stat().st_size > 0
    for name in ("last", "best"):
        checkpoint = run / "checkpoints" / name
        assert {"head.weight", "head.bias"} < set(load_file(checkpoint / "model.safetensors"))
        assert load_file(checkpoint / "optimizer.safetensors")
        state = json.loads((checkpoint / "state.json").read_text())
        assert state["step"] > 0
        assert len(state["generators"]["torch"]) > 1000
    shown = capsys.readouterr().out
    assert [line.rstrip() for line in shown.splitlines()] == (run / "train.log").read_text().splitlines()
    for words in ("tiny", "head", "Gradients verified", "epoch 2/2", "test", str(run.relative_to(folder))):
        assert words in shown


def test_the_same_command_gives_the_same_metrics_and_weights_to_the_bit(folder):
    command = [*TINY, "model.dropout=0.2", "scheduler=cosine"]
    for _ in range(2):
        assert main([*command, "-q"]) == 0
    first, second = sorted(folder.glob("outputs/tiny/*"))

    def metrics(run):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]

    assert metrics(first) == metrics(second)
    for name in ("best/model", "last/model", "last/optimizer"):
        path = f"checkpoints/{name}.safetensors"
        assert (first / path).read_bytes() == (second / path).read_bytes()


def test_a_run_in_a_process_of_its_own_gives_the_same_bits_as_one_after_others(folder):
    assert main([*TINY, "-q", "seed=3", "name=other"]) == 0
    assert main([*TINY, "-q"]) == 0
    subprocess.run([sys.executable, "-m", "bptrain", *TINY, "-q"], check=True)
    first, second = sorted(folder.glob("outputs/tiny/*"))
    path = "checkpoints/last/model.safetensors"
    assert (first / path).read_bytes() == (second / path).read_bytes()


def test_quiet_says_nothing_but_errors(folder, capsys):
    assert main([*TINY, "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert "epoch 2/2" in only("outputs/tiny/*/train.log", folder).read_text()
    assert main([*TINY, "-q", "fit.epochs=0"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "fit.epochs" in err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["trian"], ["trian", "Did you mean 'train'"]),
        (["seed=3", "train"], ["'train' is a verb", "first"]),
        (["train", "check", "seed=3"], ["'check' is a verb", "bptrain check"]),
        (["runs", "--cfg", "job", "--config-dir", "."], ["--cfg", "--config-dir", "runs"]),
        (["runs", "-m"], ["-m", "runs"]),
        (["model=mpl", "fit.epohs=3"], ["Did you mean 'mlp'", "Did you mean 'epochs'"]),
        (["-m", "seed=range(0)"], ["seed=range(0)", "no value"]),
        (["-m", "optimizer.lr=interval(0,1)"], ["interval"]),
        (["-m", "data=csv", "data.path=no.csv", "data.target=y", "seed=0,1"], ["no.csv"]),
        (["train", "fit.epohs=3"], ["fit.epohs", "Did you mean 'epochs'"]),
        (["modle=mlp", "fit.batch_size=0"], ["Did you mean 'model'", "fit.batch_size"]),
        (["--nonsense"], ["--nonsense", "--help"]),
        (["--cfg", "hydra"], ["--cfg"]),
        (["seed=0,1"], ["seed=0,1", "-m"]),
        (["check", "-m", "seed=0,1"], ["-m", "check"]),
        (["model=cnn", "data=iris"], ["cnn", "(4,)"]),
        (["data=csv"], ["data.path", "data.target"]),
        (["data=csv", "data.path=no.csv", "data.target=y"], ["no.csv"]),
        (["-m", "seed=0,1", "fit.epochs=0"], ["fit.epochs"]),
        (["--config-dir", "nowhere"], ["--config-dir", "nowhere"]),
        (["--config-name", "trian"], ["--config-name", "Did you mean 'train'"]),
        (["runs", "nowhere"], ["nowhere"]),
        (["--cfg", "job", "sed=1"], ["sed", "Did you mean 'seed'"]),
        (["check", "--cfg", "job", "fit.epochs=0"], ["fit.epochs"]),
        (["--config-name="], ["--config-name"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_request_is_exit_2_one_line_for_each_problem_and_nothing_written(folder, capsys, command, words):
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert not (folder / "outputs").exists()


def test_a_traceback_is_for_who_asks(monkeypatch, capsys):
    monkeypatch.setenv("BPTRAIN_TRACEBACK", "1")
    assert main(["fit.epochs=0"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_diverging_run_is_exit_1_and_on_record(folder, capsys):
    diverge = ["data=diabetes", "loss=mse", "optimizer=sgd", "optimizer.lr=1e30", "model/activation=relu"]
    assert main(["name=tiny", *diverge]) == 1
    assert "diverged" in capsys.readouterr().err
    summary = json.loads(only("outputs/tiny/*/summary.json", folder).read_text())
    assert summary["status"] == "failed"
    assert "diverged" in summary["reason"]


def test_a_wrong_gradient_is_exit_3_with_a_table_that_names_it(folder, capsys, monkeypatch):
    import torch
    from torch import nn

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = torch.sigmoid(x)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, dy):
            (y,) = ctx.saved_tensors
            return 1.001 * dy * y * (1 - y)

    monkeypatch.setattr(nn.Sigmoid, "forward", lambda self, x: Wrong.apply(x))
    for command in (TINY, ["check", *TINY]):
        assert main(command) == 3
        out, err = capsys.readouterr()
        assert re.search(r"wrong +\S*Wrong .*test_command_line.py:\d+ +1\.0e-03", out)
        assert "Gradients are wrong" in err
    run = only("outputs/tiny/*", folder)
    assert json.loads((run / "summary.json").read_text())["status"] == "failed"
    assert json.loads((run / "gradients.json").read_text())["verdict"] == "wrong"


def test_check_shows_every_call_and_writes_nothing(folder, capsys):
    assert main(["check", *TINY, "check.steps=2"]) == 0
    out = capsys.readouterr().out
    assert out.count("Gradients verified") == 2
    assert re.search(r"verified +torch.nn.functional.linear +head", out)
    assert re.search(r"verified +layers.0.linear.weight", out)
    assert not (folder / "outputs").exists()


def test_runs_lists_what_is_there(folder, capsys):
    assert main(["runs"]) == 0
    assert "no runs yet" in capsys.readouterr().out
    assert main([*TINY, "-q", "seed=5"]) == 0
    broken = folder / "outputs" / "tiny" / "cut_off"
    broken.mkdir()
    (broken / "lock.json").write_text("{")
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"finished +validation accuracy +[01]", out)
    assert re.search(r"cut_off +unfinished", out)
    assert "seed=5" in out


def test_cfg_prints_the_config_and_nothing_else(folder, capsys):
    import yaml

    assert main(["--cfg", "job", "seed=4", "name=n${seed}"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["name"] == "n${seed}"
    assert main(["--cfg", "job", "--resolve", "seed=4", "name=n${seed}"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["name"] == "n4"
    assert main(["--cfg", "job", "data=csv"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["data"]["path"] == "???"
    assert not (folder / "outputs").exists()


def test_help_lists_verbs_exit_codes_and_examples(capsys):
    for command in (["--help"], ["check", "--help"], ["runs", "-h"], ["-q", "train", "-h"]):
        with pytest.raises(SystemExit) as caught:
            main(command)
        assert caught.value.code == 0
    out = capsys.readouterr().out
    for words in ("verbs:", "exit codes:", "bptrain check experiment=", "bptrain runs"):
        assert words in out


def test_an_output_folder_that_can_not_be_written_is_exit_1(folder, capsys):
    (folder / "outputs").write_text("a file in the way")
    assert main(TINY) == 1
    assert "outputs is a file: move it away" in capsys.readouterr().err
    assert main(["runs"]) == 2
    assert "outputs is a file: move it away" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_exit_130_and_on_record(folder, number):
    command = [sys.executable, "-m", "bptrain", *TINY, "fit.epochs=100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert json.loads(only("outputs/tiny/*/summary.json", folder).read_text())["status"] == "interrupted"


def test_signals_are_left_as_they_were_and_a_thread_can_run_a_verb(folder):
    before = signal.getsignal(signal.SIGTERM)
    assert main([*TINY, "-q"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["runs"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_terminal_sees_a_bar_and_colour(folder):
    import pty

    command = [sys.executable, "-m", "bptrain", *TINY, "fit.epochs=400"]
    leader, follower = pty.openpty()
    process = subprocess.Popen(command, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm-256color"})
    os.close(follower)
    seen = b""
    while True:
        try:
            seen += os.read(leader, 65536)
        except OSError:
            break
    assert process.wait() == 0
    text = seen.decode()
    assert "samples/s" in text
    assert "\x1b[32m" in text
    assert re.search(r"\d+/1[0-9]{3}", text)
    log = only("outputs/tiny/*/train.log", folder).read_text()
    assert "\x1b" not in log


def test_a_word_with_a_dash_is_told_to_be_no_option(capsys):
    assert main(["-check.enabled=false"]) == 2
    assert "'-check.enabled=false' is no option. Write key=value" in capsys.readouterr().err
