"""A module of the user's own: what is built, what is refused, and that nothing of it runs before it may."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch

from bptrain.cli.main import main
from bptrain.config.tree import config_root
from bptrain.errors import RequestError
from bptrain.models.custom import Custom

NET = """
import torch
from pathlib import Path
from subprocess import run
from torch import nn
from own.parts import elsewhere

Path("imported").touch()
noise = torch.randn(3)
numbers = [1, 2]
bad = {}


class Net(nn.Module):
    def __init__(self, shape, outputs, hidden=5):
        super().__init__()
        self.hidden = nn.Linear(torch.Size(shape).numel(), hidden)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x):
        return self.head(torch.tanh(self.hidden(x.flatten(1))))


def linear(inputs, outputs, *, bias=True):
    return nn.Linear(inputs, outputs, bias)


def shapeless(**options):
    return nn.Sequential(nn.Flatten(), nn.Linear(**options))


def lazy():
    return nn.Sequential(nn.LazyLinear(3))


def frozen():
    return nn.Linear(4, 3).requires_grad_(False)


def table():
    return {}


def failing():
    return nn.Linear("four", 3)


def leaving():
    raise SystemExit


class Plain:
    pass


built = nn.Linear(4, 3)
"""

SHORT = ["data=iris", "fit.epochs=1", "name=tiny", "-q"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with modules, of which none stays loaded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").touch()
    (tmp_path / "own" / "net.py").write_text(NET)
    (tmp_path / "own" / "parts.py").write_text("def elsewhere():\n    pass\n")
    (tmp_path / "single.py").write_text("from torch import nn\n\n\ndef make():\n    return nn.Linear(4, 3)\n")
    (tmp_path / "no_syntax.py").write_text("\n\nclass Net(:\n")
    (tmp_path / "raises.py").write_text("import single\n\nscale = 1 / 0\n")
    (tmp_path / "beside.py").write_text("import raises\n")
    (tmp_path / "needs_more.py").write_text("\nimport no_such_module\n")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit()\n")
    yield tmp_path
    for name, module in sys.modules.copy().items():
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def words(path, *trust):
    return ["model=custom", f"model.path={path}", *(trust or [f"trust={path.partition(':')[0]}"])]


def test_a_class_or_a_function_is_called_with_what_it_asks_for_of_the_data():
    network = Custom("own.net:Net", {"hidden": 7}).build((2, 3), 4)
    assert network.hidden.weight.shape == (7, 6)
    assert network(torch.randn(5, 2, 3)).shape == (5, 4)
    assert Custom("own.net:linear", {"inputs": 3, "bias": False}).build((3,), 2).weight.shape == (2, 3)
    assert Custom("own.net:linear", {"inputs": 3, "outputs": 6}).build((3,), 2).weight.shape == (6, 3)
    network = Custom("own.net:shapeless", {"in_features": 3, "out_features": 2}).build((3,), 9)
    assert network(torch.randn(5, 3)).shape == (5, 2)
    assert Custom("torch.nn:Linear", {"in_features": 3, "out_features": 2}).build((3,), 9).weight.shape == (2, 3)


def test_an_import_draws_nothing_from_the_generator_that_initialises():
    weights = []
    for _ in range(2):  # the first imports
        torch.manual_seed(3)
        weights.append(Custom("own.net:Net").build((4,), 3).hidden.weight)
    assert torch.equal(*weights)


def test_the_current_folder_is_searched_first_and_only_while_importing(folder):
    (folder / "paths.py").write_text("import sys\nfrom own.net import Net\nseen = list(sys.path)\n")
    before = list(sys.path)
    Custom("paths:Net").build((4,), 3)
    assert sys.path == before
    assert sys.modules["paths"].seen == [os.getcwd(), *before]
    with pytest.raises(RequestError, match="ZeroDivisionError"):
        Custom("raises:Net").build((4,), 3)
    assert sys.path == before


def test_check_and_training_verify_every_gradient_of_it(folder):
    """In a process of its own, as a console script is: Python does not look into the current folder."""
    command = [sys.executable, "-P", "-m", "bptrain"]
    for verb in (["check"], []):
        line = [*command, *verb, *words("own.net:Net"), *SHORT[:3], "check.strict=true", "+model.arguments.hidden=6"]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        assert "Gradients verified: 5 of 5 calls and 4 of 4 parameters" in done.stdout


def test_the_lock_has_path_trust_and_the_files_as_they_were_loaded(folder):
    assert main([*SHORT, *words("own.net:Net", "trust=own")]) == 0
    file, content = folder / "own" / "net.py", (folder / "own" / "net.py").read_bytes()
    file.write_text("changed since")
    assert main([*SHORT, *words("own.net:Net", "trust=[own.net,other]")]) == 0
    first, second = (json.loads(path.read_text()) for path in sorted(folder.glob("outputs/tiny/*/lock.json")))
    assert first["code"]["path"] == "own.net:Net"
    assert first["code"]["trust"] == ["own"]
    assert set(first["code"]["sha256"]) == {"own", "own.net", "own.parts"}
    assert second["code"]["trust"] == ["own.net", "other"]
    assert second["code"]["sha256"] == {"own.net": hashlib.sha256(content).hexdigest()}
    assert first["config"]["trust"] is second["config"]["trust"] is None  # never remembered
    assert first["config_hash"] == second["config_hash"]
    assert "trust=own" in first["overrides"]
    assert main(SHORT) == 0
    assert json.loads(max(folder.glob("outputs/tiny/*/lock.json")).read_text())["code"] is None


def test_a_sweep_trains_it_with_each_of_its_arguments(folder):
    assert main(["-m", *SHORT, *words("own.net:Net"), "model.arguments.hidden=2,3"]) == 0
    locks = sorted(folder.glob("outputs/tiny/sweeps/*/*/lock.json"))
    found = [json.loads(path.read_text())["config"]["model"] for path in locks]
    assert [model["arguments"] for model in found] == [{"hidden": 2}, {"hidden": 3}]
    saved = (folder / "outputs").rglob("overrides.yaml")
    assert all("trust=own.net" in path.read_text() for path in saved)


# (path, words that must appear): each is one message, exit 2, and nothing on disk.
WRONG = [
    ("own.net:Nett", ["there is no 'Nett' in own/net.py", "Did you mean 'Net'"]),
    ("own.nett:Net", ["there is no module 'own.nett'"]),
    ("ownn.net:Net", ["there is no module 'ownn'", "Did you mean 'own'"]),
    ("single.deeper:make", ["there is no module 'single.deeper'"]),
    ("own.net:numbers", ["is a list", "a class of nn.Module, or a function"]),
    ("own.net:built", ["is a Linear", "a class of nn.Module, or a function"]),
    ("own.net:Plain", ["is a type of another kind"]),
    ("own.net:run", ["'run' is not written in own.net but in subprocess", "trust=subprocess"]),
    ("own.net:elsewhere", ["model.path=own.parts:elsewhere trust=own.parts"]),
    ("own.net:table", ["gives a dict"]),
    ("own.net:lazy", ["is lazy", "'0.weight'", "`shape`"]),
    ("own.net:frozen", ["no parameters to train"]),
    ("own.net:failing", ["own/net.py:45", "TypeError"]),
    ("own.net:leaving", ["own/net.py:49", "SystemExit"]),
    ("no_syntax:Net", ["can't be imported", "no_syntax.py:3", "SyntaxError"]),
    ("raises:Net", ["can't be imported", "raises.py:3", "ZeroDivisionError: division by zero."]),
    ("beside:Net", ["can't be imported", "raises.py:3", "ZeroDivisionError"]),
    ("needs_more:Net", ["can't be imported", "needs_more.py:2", "no_such_module"]),
    ("leaves:Net", ["can't be imported", "leaves.py:2", "SystemExit"]),
    ("os:system", ["is a builtin_function_or_method"]),
    ("builtins:eval", ["is a builtin_function_or_method"]),
]


@pytest.mark.parametrize(("path", "said"), WRONG, ids=[path for path, _ in WRONG])
def test_what_is_no_network_is_one_message_even_when_it_is_trusted(folder, capsys, path, said):
    assert main([*SHORT, *words(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bptrain: model.path: ")
    assert err.count("\n") == 1
    for word in said:
        assert word in err
    assert not (folder / "outputs").exists()


def test_arguments_that_it_does_not_take_or_still_needs_are_all_named(capsys):
    given = ["model.arguments.hiden=3", "model.arguments.bais=true"]
    assert main([*SHORT, *words("own.net:linear"), *given]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "model.arguments.hiden",
        "model.arguments.bais",
        "model.arguments.inputs",
    ]
    assert "Did you mean 'bias'" in lines[1]
    assert "Write model.arguments.inputs=VALUE" in lines[2]
    assert main([*SHORT, *words("own.net:Net"), "model.arguments.hidden=many"]) == 2
    assert "own/net.py:17: TypeError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model.arguments=3", "model.arguments: must be a mapping {key: value, ...}, not 3."),
        ("model.arguments={a: [1, {b: nan}]}", "model.arguments.a[1].b: must be a text, a finite number"),
        ("model.arguments={1: 2}", "model.arguments.1: must have a text as its key."),
        ("model.arguments.a=???", "model.arguments.a: is missing."),
        ("trust={own: 1}", "trust: must be a list [...] of texts"),
        ("trust=3", "trust: must be a list [...] of texts"),
        ("trust.own=1", "'trust.own=1': trust has no keys. Write trust=package.module."),
        ("trust@own=net", "trust@own"),
        ("trust=own,other", "'trust=own,other': has several values."),
    ],
)
def test_arguments_and_trust_of_another_kind_are_one_message(capsys, word, said):
    assert main([*SHORT, *words("own.net:Net"), word]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "path",
    ["./net.py:Net", "../own.net:Net", "/etc/net:Net", "net.py:Net", "own.net", "own.net:", ":Net", "own..net:N"],
)
@pytest.mark.parametrize("trust", ["trust=own", "trust=."])
def test_a_path_that_is_no_import_is_refused(capsys, path, trust):
    assert main([*SHORT, *words(path, trust)]) == 2
    assert "names nothing that can be imported. Write package.module:Name" in capsys.readouterr().err


@pytest.mark.parametrize(
    "trust",
    [
        *[[], ["trust=own.ne"], ["trust=own.net.deeper"], ["trust=[ow,net]"], ["trust=''"], ["trust=null"]],
        *[["trust=own", "trust=other"], ["trust=own", "~trust"], ["trust=${model.path}"], ["trust=own.net:Net"]],
    ],
    ids=str,
)
def test_nothing_runs_that_the_command_line_does_not_trust(folder, capsys, trust):
    for command in (["check"], ["-m", "seed=3,4"]):
        assert main([*command, *SHORT, *words("own.net:Net", "monitor=loss"), *trust]) == 2
        err = capsys.readouterr().err
        assert err.startswith("bptrain: model.path: is code of your own")
        assert "Add trust=own.net to the command line" in err
        assert err.count("\n") == 1
    assert not (folder / "imported").exists()
    assert "own" not in sys.modules


def test_nothing_runs_before_the_whole_config_is_right(folder, capsys):
    trusted = words("own.net:Net")
    assert main(["--cfg", "job", *trusted]) == 0
    assert main(["--cfg", "job", *trusted[:-1]]) == 0  # to look before one trusts
    assert main([*SHORT, *trusted, "fit.epochs=0"]) == 2
    assert main([*SHORT, "-m", *trusted, "fit.epochs=1,0"]) == 2
    with pytest.raises(SystemExit):
        main(["check", "--help", *trusted])
    assert "model=custom model.path=my.module:Net trust=my.module" in capsys.readouterr().out
    assert not (folder / "imported").exists()
    assert main([*SHORT, *trusted]) == 0
    assert (folder / "imported").exists()


def test_a_config_that_was_saved_wants_trust_again(folder, capsys):
    assert main([*SHORT, *words("own.net:Net")]) == 0
    (saved,) = folder.glob("outputs/tiny/*/.hydra")
    again = ["--config-dir", str(saved), "--config-name", "config", "-q"]
    assert main(again) == 2
    assert "Add trust=own.net" in capsys.readouterr().err
    assert main([*again, "trust=own.net"]) == 0


@pytest.mark.parametrize(
    ("file", "content", "chosen"),
    [
        ("start", "defaults: [train, _self_]\nseed: 1\ntrust: {}\n", ["-cn", "start"]),
        ("experiment/preset", "# @package _global_\nseed: 1\ntrust: {}\n", ["experiment=preset"]),
        ("experiment/preset", "# @package _global_\nseed: 1\ntrust: {}\n", ["experiment=outer"]),
        ("experiment/digits_mlp", "# @package _global_\nname: mine\ntrust: {}\n", []),
    ],
    ids=["start", "preset", "nested", "shadow"],
)
@pytest.mark.parametrize(
    ("text", "trust"),
    [("own", []), ("own", ["trust=own"]), ("own", ["~trust"]), ("[own]", []), ("${oc.env:HOME}", []), ("{a: 1}", [])],
    ids=str,
)
def test_trust_in_a_file_is_refused_and_the_line_named(folder, capsys, file, content, chosen, text, trust):
    (folder / "configs" / "experiment").mkdir(parents=True)
    (folder / "configs" / "experiment" / "outer.yaml").write_text("# @package _global_\ndefaults: [preset]\n")
    (folder / "configs" / f"{file}.yaml").write_text(content.format(text))
    assert main([*SHORT, "--config-dir", "configs", *chosen, *words("own.net:Net", "seed=2"), *trust]) == 2
    err = capsys.readouterr().err
    assert f"{file}.yaml:3: trust counts on the command line only" in err
    assert not (folder / "imported").exists()


def test_a_shadow_of_the_whole_config_gives_no_trust_either(folder, capsys):
    text = (config_root() / "train.yaml").read_text()
    (folder / "train.yaml").write_text(text.replace("trust: null", "trust: own"))
    assert main([*SHORT, "--config-dir", ".", *words("own.net:Net")]) == 2
    assert "train.yaml:16: trust counts on the command line only" in capsys.readouterr().err


@pytest.mark.parametrize(
    "body, said",
    [('return x + "1"', "TypeError"), ("return x, x", "gives a tuple"), ("return x", "outputs of shape (2, 4)")],
)
def test_a_forward_that_fails_or_gives_something_else_is_one_message(folder, capsys, body, said):
    (folder / "forward.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        self.layer = nn.Linear(4, 3)\n\n    def forward(self, x):\n        {body}\n"
    )
    assert main(["check", "model=custom", "model.path=forward:Net", "trust=forward", "data=iris"]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert "Traceback" not in errors
    assert len(errors.splitlines()) == 1
