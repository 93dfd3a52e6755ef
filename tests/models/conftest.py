"""A folder with modules of a user's own, and the words that name one of them."""

import sys

import pytest

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


@pytest.fixture
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


@pytest.fixture
def words():
    def words(path, *trust):
        return ["model=custom", f"model.path={path}", *(trust or [f"trust={path.partition(':')[0]}"])]

    return words
