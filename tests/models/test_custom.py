"""A module of the user's own: what is built, what is refused, and what the lock says of it."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch

from bptrain.cli.main import main
from bptrain.errors import RequestError
from bptrain.models.custom import Custom

pytestmark = pytest.mark.usefixtures("folder")
SHORT = ["data=iris", "fit.epochs=1", "name=tiny", "-q"]


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


def test_check_and_training_verify_every_gradient_of_it(words, folder):
    """In a process of its own, as a console script is: Python does not look into the current folder."""
    command = [sys.executable, "-P", "-m", "bptrain"]
    for verb in (["check"], []):
        line = [*command, *verb, *words("own.net:Net"), *SHORT[:3], "check.strict=true", "+model.arguments.hidden=6"]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        assert "Gradients verified: 5 of 5 calls and 4 of 4 parameters" in done.stdout


def test_the_lock_has_path_trust_and_the_files_as_they_were_loaded(words, folder):
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


def test_a_sweep_trains_it_with_each_of_its_arguments(words, folder):
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
def test_what_is_no_network_is_one_message_even_when_it_is_trusted(words, folder, capsys, path, said):
    assert main([*SHORT, *words(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bptrain: model.path: ")
    assert err.count("\n") == 1
    for word in said:
        assert word in err
    assert not (folder / "outputs").exists()


def test_arguments_that_it_does_not_take_or_still_needs_are_all_named(words, capsys):
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
def test_arguments_and_trust_of_another_kind_are_one_message(words, capsys, word, said):
    assert main([*SHORT, *words("own.net:Net"), word]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


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
