"""Several processes that train one run: they make the steps that one alone makes, and one of them tells of it.

Run as a script, this is what each of the processes does.
"""

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bptrain.cli.main import main
from bptrain.config.compose import compose, settings_of
from bptrain.errors import RequestError
from bptrain.train.distributed import Ranks, connected, leave
from bptrain.train.fit import fit
from bptrain.train.record import Checked, Evaluated, Finished, Stepped
from bptrain.train.run import build

COMMON = ["data=iris", "model.sizes=[5]", "precision=fp64", "fit.epochs=2", "check.every=3", "fit.patience=5"]
# Of 98 rows, batches of 97 leave one row for two processes; batches of 13, three to a step, leave two of 13 and 7.
FEW = ["fit.batch_size=97"]
CLIPPED = ["fit.batch_size=13", "fit.accumulate=3", "fit.clip=0.3", "optimizer=sgd", "optimizer.lr=0.5"]
CASES = {
    "ddp_few": [*FEW],
    "ddp_clipped": [*CLIPPED, "model.norm=batch"],
    "fsdp_few": ["fit.strategy=fsdp", *FEW],
    "fsdp_clipped": ["fit.strategy=fsdp", *CLIPPED, "model.norm=batch", "scheduler=cosine"],
}


def trained(words):
    """What a run comes to: tensors, and figures."""
    run = build(settings_of(compose([*COMMON, *words])))
    records = list(fit(run))
    last, best = run.state.snapshot().full(), run.state.best.full()
    tensors = {"last": last.model, "best": best.model, "optimizer": last.optimizer}
    figures = {
        "losses": [r.loss.item() for r in records if isinstance(r, Stepped)],
        "rows": [r.rows for r in records if isinstance(r, Stepped)],
        "scores": [r.scores for r in records if isinstance(r, Evaluated | Finished)],
        "health": [r.health.gradient_norm for r in records if isinstance(r, Evaluated)],
        "verdicts": [r.report.verdict for r in records if isinstance(r, Checked)],
        "parts": [[what for _, what, *_ in r.report.rows()] for r in records if isinstance(r, Checked)],
        "notes": [r.report.note for r in records if isinstance(r, Checked)],
    }
    return {f"{group}.{name}": x for group, named in tensors.items() for name, x in named.items()}, figures


def take_part(folder, cases):
    with connected("cpu"):
        for case in cases:
            tensors, figures = trained(CASES[case])
            name = f"{case}.{os.environ['RANK']}"
            save_file(tensors, folder / f"{name}.safetensors")
            (folder / f"{name}.json").write_text(json.dumps(figures))
    leave(0)


@pytest.fixture(scope="module")
def results(tmp_path_factory, together):
    folder = tmp_path_factory.mktemp("ranks")
    ended = together(2, folder, __file__, *CASES)
    assert [code for code, *_ in ended] == [0, 0], ended
    return folder


def result(folder, case, rank):
    name = f"{case}.{rank}"
    return load_file(folder / f"{name}.safetensors"), json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_two_processes_make_the_steps_of_one(results, case):
    alone, figures = trained([word for word in CASES[case] if word != "fit.strategy=fsdp"])
    (first, told), (second, told_too) = (result(results, case, rank) for rank in range(2))
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-14)
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    assert told == told_too
    for name in ("losses", "health"):
        assert told[name] == pytest.approx(figures[name], rel=1e-13)
    assert told["scores"] == [
        {key: pytest.approx(value, rel=1e-13) for key, value in scores.items()} for scores in figures["scores"]
    ]
    for name in ("rows", "verdicts", "parts", "notes"):
        assert told[name] == figures[name]
    assert set(told["verdicts"]) == {"verified"}
    assert "loss" in told["parts"][0]


def test_nothing_is_sharded_in_one_process():
    with pytest.raises(RequestError, match=r"^fit.strategy: shards .* torchrun"):
        build(settings_of(compose(["fit.strategy=fsdp"])))


@pytest.fixture
def launched(monkeypatch):
    def launched(rank):
        places = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": 2}
        for name, value in (places | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}).items():
            monkeypatch.setenv(name, str(value))

    return launched


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["-m", "seed=0,1"], ["torchrun", "-m is not that"]),
        (["check"], ["torchrun", "check is not that"]),
        (["fit.epohs=1"], ["fit.epohs", "epochs"]),
        (["device=mps"], ["device", "mps"]),
        (["device=cuda:1"], ["device", "cuda:1"]),
    ],
)
def test_what_all_processes_would_refuse_the_first_one_tells(line, words, launched, capsys):
    said = []
    for rank in range(2):
        launched(rank)
        assert main(line) == 2
        said.append(capsys.readouterr().err)
    assert said[0].count("\n") == 1
    assert said[1] == ""
    for word in words:
        assert word in said[0]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_process_of_torchrun_is_a_process_alone_to_the_bit(strategy):
    words = [*CLIPPED, "model.dropout=0.3", "model.norm=batch"]
    alone, told = trained(words)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        tensors, figures = trained([*words, f"fit.strategy={strategy}"])
    finally:
        torch.distributed.destroy_process_group()
    torch.testing.assert_close(tensors, alone, rtol=0, atol=0)
    assert figures == told


def test_each_process_draws_dropout_of_its_own():
    states = []
    for rank in range(3):
        torch.manual_seed(5)
        Ranks(rank, 3, "ddp").seed(5)
        states.append(torch.get_rng_state())
    torch.manual_seed(5)
    assert torch.equal(states[0], torch.get_rng_state())
    assert not any(torch.equal(a, b) for a, b in combinations(states, 2))


@pytest.mark.slow
def test_where_dropout_differs_the_check_says_what_it_did_not_compare(tmp_path, together):
    line = "-m bptrain data=iris fit.epochs=1 model.dropout=0.5 name=d".split()
    (code, said, _), _ = together(2, tmp_path, *line)
    assert code == 0
    certificate = json.loads(next(tmp_path.glob("outputs/d/*/gradients.json")).read_text())
    assert certificate["verdict"] == "verified"
    assert "draws dropout of its own" in certificate["note"]
    assert "Not compared: loss, gradients of the step and buffers, since each process" in " ".join(said.split())


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_torchrun_leaves_one_run_that_reads_as_that_of_a_process_alone(strategy, tmp_path):
    words = ["data=iris", "fit.epochs=3", "fit.checkpoint.every=2", "precision=fp64"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "bptrain"]
    line = [*torchrun, *words, f"fit.strategy={strategy}", "name=two"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.count("epoch 3/3") == 1
    line = [sys.executable, "-m", "bptrain", *words, "name=one"]
    subprocess.run(line, cwd=tmp_path, capture_output=True, check=True)
    (two,), (one,) = (list(tmp_path.glob(f"outputs/{name}/*")) for name in ("two", "one"))
    assert {p.relative_to(two) for p in two.rglob("*")} == {p.relative_to(one) for p in one.rglob("*")}
    locks = [json.loads((path / "lock.json").read_text()) for path in (two, one)]
    assert locks[0].pop("distributed") == {"world_size": 2, "strategy": strategy, "backend": "gloo"}
    assert locks[0].keys() == locks[1].keys()
    for file in ("last/model", "best/model", "last/optimizer"):
        given, wanted = (load_file(path / "checkpoints" / f"{file}.safetensors") for path in (two, one))
        torch.testing.assert_close(given, wanted, rtol=0, atol=1e-13)
    lines = [[json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()] for path in (two, one)]
    for given, wanted in zip(*lines, strict=True):
        del given["seconds"], wanted["seconds"]
        assert given == {key: v if isinstance(v, str) else pytest.approx(v, rel=1e-12) for key, v in wanted.items()}


WRONG = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 3), nn.Tanh())
        self[1].register_full_backward_hook(lambda module, into, out: (into[0] * 1.01,))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["optimizer=sgd", "optimizer.lr=1e30", "data=diabetes", "loss=mse", "model/activation=relu"], 1, "diverged"),
        (["model=custom", "trust=mine", "model.path=mine:Net"], 3, "wrong"),
        (["fit.engine=auto"], 2, "fit.engine"),
    ],
)
def test_an_error_of_all_processes_ends_them_and_one_tells_it(words, code, said, tmp_path, together):
    (tmp_path / "mine.py").write_text(WRONG)
    (first, _, told), (second, *others) = together(2, tmp_path, "-m", "bptrain", "data=iris", "fit.epochs=2", *words)
    assert (first, second) == (code, code)
    assert told.count("bptrain: ") == 1
    assert said in told
    assert others == ["", ""]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_where_the_first_process_can_not_write_the_others_end_with_it(strategy, tmp_path, together):
    (tmp_path / "outputs").write_text("no folder")
    line = ["-m", "bptrain", "data=iris", f"fit.strategy={strategy}"]
    (first, _, told), (second, *others) = together(2, tmp_path, *line)
    assert first == 1
    assert "outputs is a file" in told
    assert second == 1
    assert others == ["", ""]


if __name__ == "__main__":
    take_part(Path(), sys.argv[1:])
