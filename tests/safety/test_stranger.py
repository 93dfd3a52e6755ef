"""A run directory of a stranger: what it states of itself is held against the run, and trusts nothing by itself."""

import hashlib
import json
import re
import shutil
import sys

import pytest

from bptrain.cli.main import main
from bptrain.models.custom import _sha256

HUGE = 10**18


def signed(path, state):
    """Writes state.json with the checksum that it then has."""
    del state["checksums"]["state.json"]
    text = json.dumps(state, sort_keys=True)
    state["checksums"]["state.json"] = {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    path.write_text(json.dumps(state))


def put(state, place, value):
    """Sets the value at a place such as optimizer.state.0.step."""
    *above, last = re.findall(r"model\.safetensors|\w+", place)
    for key in above:
        state = state[int(key) if isinstance(state, list) else key]
    state[int(last) if isinstance(state, list) else last] = value


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


COUNT = (HUGE, -1, 1.5, "1", None, [1], True, float("nan"), deep(300))
TIME = ("x", [], True, -1, float("nan"))
STATES = {  # the place of a value in state.json, and what stands there instead
    "epoch": COUNT,
    "step": (*COUNT, 7 * 10**6),
    "within": (*COUNT, 10**6),
    "lr": ("x", [], {}, True),
    "left_out": ([0], [0, 0, 0], 0, ["a", "b"], [-1, 0], None),
    "total": (1.0, "x", [1], {"tensor": "state.0.exp_avg"}, {"tensor": "none"}, {"tensor": []}),
    "health": (7, [], {}, {"silent": 1}),
    "health.silent": ([], {"x": 1}, 3),
    "best": ({}, None, [1], "x"),
    "best.score": (["a", "b"], 1, [1.0], [[1.0], 2.0], [None, 1.0]),
    "best.epoch": ("1", None, [], 1.5),
    "best.step": ("1", None, [], 1.5),
    "best.stale": ("1", None, [], 1.5),
    "optimizer": ({}, [], None, {"state": {}, "param_groups": []}),
    "optimizer.param_groups.0.lr": ("x", [1], {}, True),
    "optimizer.param_groups.0.params": ([0], ["a"] * 4, [], None),
    "optimizer.param_groups.0.betas": ([0.9], ["x", 1], 1, None),
    "optimizer.param_groups.0.more": (1,),
    "optimizer.state": ([], {"x": {}}, {"0": {}}, {"0": 7}, {"99": {}}, {"-1": {}}),
    "optimizer.state.0.exp_avg": (1.0, "x", {"tensor": "none"}, [], {"tensor": "state.1.exp_avg"}),
    "optimizer.state.0.step": (1.0, "x", None, [], {"tensor": "state.0.exp_avg"}),
    "optimizer.state.0.more": (1,),
    "scheduler": ([], {}, {"steps": 1}, None, {"steps": 1, "base": [1.0], "optimizer": 1}),
    "scheduler.steps": ("x", None, [], 1.5, -1),
    "scheduler.base": ([], ["x"], 1.0, [0.1, 0.1]),
    "python": (None, [], *([version, [1] * n, None] for version, n in ((3, 2), (3, 624), (3, 626), (4, 625)))),
    "python.1": ([-1] * 625, [HUGE] * 625, ["x"] * 625, [1.5] * 625),
    "numpy": (None, [], ["MT19937", [1], 0, 0, 0.0], ["PCG64", [1] * 624, 0, 0, 0.0]),
    "numpy.1": ([-1] * 624, [HUGE] * 624, ["x"] * 624),
    "generators": ({}, [], None, {"torch": 7}),
    "generators.torch": ("", "00", "zz", "0" * 10_000, "00" * 10**6, "f" * 10_112),
    "progress": (None, {}, [], {"seconds": 1}),
    "progress.seconds": TIME,
    "progress.rows": (*TIME[:3], None, 1.5),
    "progress.metrics": (*TIME[:3], None, 1.5),
    "progress.top": (1, None, [1], [[1, 2]], [[1, 2, "3"]], [["a", 2, 3]]),
    "progress.summary": (1, None, [], "x"),
    "checksums": ({"state.json": {}}, {"state.json": None}),
    "checksums.model.safetensors": ({}, 7),
}


def test_a_state_that_states_nonsense_is_refused_though_its_checksum_is_right(folder, run, refused):
    path = folder / run / "checkpoints/last/state.json"
    honest = path.read_text()
    for place, value in ((place, value) for place, values in STATES.items() for value in values):
        state = json.loads(honest)
        put(state, place, value)
        signed(path, state)
        refused(["resume", str(run), "fit.epochs=3"], "checkpoints/last")
    path.write_text(honest)
    assert main(["resume", "-q", str(run), "fit.epochs=3"]) == 0


TEXTS = [
    b"",
    b"{",
    b"[]",
    b"7",
    b"null",
    b"\xff\xfe{}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"step": ' + b"9" * 10_000 + b"}",
    b"{" + b'"a": 1, ' * 10_000,
    b'{"checksums": {}}',
    b'{"checksums": {"state.json": {"sha256": ""}}}',
]


@pytest.mark.parametrize("name", ["checkpoints/last/state.json", "lock.json"])
def test_a_file_that_is_no_json_of_a_run_is_refused(folder, run, refused, name):
    for text in TEXTS:
        (folder / run / name).write_bytes(text)
        refused(["resume", str(run)], str(run))
        if name == "lock.json":
            refused(["reproduce", "-q", str(run)], str(run))


LOCKS = [
    (["config"], {}),
    (["config"], []),
    (["config"], {"a": deep(300)}),
    (["config", "model"], deep(300)),
    (["config", "model", "_target_"], "os.system"),
    (["config", "model", "name"], "../../x"),
    (["config", "model", "sizes"], [HUGE]),
    (["config", "model", "sizes"], "${oc.env:HOME}"),
    (["config", "hydra"], {"run": {"dir": "../x"}}),
    (["config", "fit", "epochs"], HUGE),
    (["config", "fit", "epochs"], -1),
    (["config", "fit", "checkpoint", "keep"], ["../x"]),
    (["config", "device"], "cpu; touch x"),
    (["config", "name"], "${"),
    (["config", "name"], "${name}"),
    (["config", "name"], "???"),
    (["config", "threads"], HUGE),
    (["overrides"], "x"),
    (["overrides"], [{"a": 1}]),
    (["overrides"], [None]),
]


@pytest.mark.parametrize(("keys", "value"), LOCKS, ids=str)
def test_a_lock_that_states_nonsense_is_refused(folder, run, refused, change, keys, value):
    change(folder / run / "lock.json", keys, value)
    for verb in ("resume", "reproduce"):
        refused([verb, str(run)])


ENDS = [
    {"step": "x", "split": "train"},
    {"step": 1},
    {"split": "train"},
    [1],
    7,
    None,
    "x",
    {"step": 1, "split": ["train"]},
]


@pytest.mark.parametrize("line", ENDS, ids=str)
def test_metrics_that_are_none_are_refused(folder, run, refused, line):
    (folder / run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    refused(["reproduce", "-q", str(run)], "has no metrics.jsonl that can be read")


@pytest.mark.parametrize(
    "value", [7, "x", [], [1], {"validation": 7}, {"validation": {"accuracy": "x"}}, None], ids=str
)
def test_a_summary_that_states_nonsense_hides_no_run(folder, run, change, capsys, value):
    for key in ("status", "best", "test", "monitor", "gradients", "epochs", "seconds"):
        change(folder / run / "summary.json", [key], value)
    change(folder / run / "lock.json", ["overrides"], value)
    assert main(["runs"]) == 0
    assert str(run) in capsys.readouterr().out


@pytest.fixture
def theirs(folder, tripped):
    """The directory of a run with a module of the stranger's own, and that module beside it."""
    code = "from torch import nn\ndef make(shape, outputs):\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))\n"
    (folder / "evil_module.py").write_text(code)
    words = ["data=iris", "fit.epochs=2", "name=theirs", "check.enabled=false"]
    assert main(["-q", *words, "model=custom", "model.path=evil_module:make", "trust=evil_module"]) == 0
    (run,) = folder.glob("outputs/theirs/*")
    (folder / "evil_module.py").write_text(f"import os\nos.mkdir({str(tripped)!r})\n{code}")
    del sys.modules["evil_module"]
    _sha256.cache_clear()  # which a process keeps of the code that it has loaded
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    yield run.relative_to(folder)
    sys.modules.pop("evil_module", None)


UNTRUSTED = "runs only when the command line trusts it"


@pytest.mark.parametrize("verb", ["resume", "reproduce"])
@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["seed"], 0),
        (["trust"], ["evil_module"]),
        (["config", "trust"], ["evil_module"]),
        (["config", "trust"], "evil_module"),
        (["config", "model", "trust"], ["evil_module"]),
        (["code", "trust"], ["evil_module"]),
        (["overrides"], ["trust=evil_module"]),
    ],
    ids=str,
)
def test_no_lock_has_a_module_of_its_own_run(folder, theirs, refused, change, verb, keys, value):
    change(folder / theirs / "lock.json", keys, value)
    refused([verb, str(theirs)], "model.path: " if "model" not in keys else "model.trust")


def test_a_module_that_has_changed_runs_when_it_is_trusted_and_is_then_named(folder, theirs, tripped, capsys):
    assert main(["resume", str(theirs), "trust=evil_module"]) == 2  # trusted, it runs: and is another one than it was
    assert "code was" in capsys.readouterr().err
    assert tripped.exists()


@pytest.mark.parametrize(
    "word", ["trust=evil_module", "+trust=evil_module", "++trust=[evil_module]", "trust=[evil_module]"]
)
def test_no_plan_of_a_sweep_has_a_module_run(folder, theirs, refused, word):
    words = ["data=iris", "fit.epochs=1", "name=x", "model=custom", "model.path=evil_module:make", word, "seed=1,2"]
    told = {"words": words, "config_dir": None, "config_name": None, "trials": []}
    (folder / theirs / "sweep.json").write_text(json.dumps(told))
    refused(["resume", str(theirs)], "sweep.json: gives trust")


@pytest.mark.parametrize(
    "line", ["trust: evil_module", "trust: [evil_module]", "model: {trust: [evil_module]}", "'trust': evil_module"]
)
def test_no_file_of_a_config_has_a_module_run(folder, theirs, refused, line):
    (folder / "own").mkdir()
    model = "" if line.startswith("model") else "model: {path: 'evil_module:make'}\n"
    defaults = "defaults: [train, {override model: custom}, _self_]\nname: x\n"
    line = line.replace("{trust", "{path: 'evil_module:make', trust")
    (folder / "own/theirs.yaml").write_text(f"{defaults}{model}{line}\n")
    refused(["--config-dir", "own", "--config-name", "theirs"], "trust")
    refused(["--config-dir", "own", "--config-name", "theirs", "-m", "seed=1,2"], "trust")
