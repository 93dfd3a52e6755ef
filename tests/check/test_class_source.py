"""The source of a class runs by itself, with all of its file that it needs and nothing else."""

import math
import sys

import pytest
import torch
from torch.autograd import Function

from bptrain.check.class_source import class_source
from bptrain.errors import RequestError

SLOPE = 2.0


class Outer:
    class Inner(Function):
        @staticmethod
        def forward(ctx, x):
            return SLOPE * x


FILE = """
from __future__ import annotations

import math as m, json
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import no_such_package
except ImportError:
    no_such_package = None

HALF = m.sqrt(0.25)


class Base(torch.autograd.Function):
    factor: float = 2 * HALF


def forgotten():
    return json.dumps(1)


def decorated(function: Callable) -> Callable:
    return function


@decorated
def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x * y if no_such_package is None else 0


class Times(Base):
    @staticmethod
    def forward(ctx, x, k, *, bias=0.0):
        ctx.k = k
        return product(x, torch.full_like(x, k))

    @staticmethod
    def backward(ctx, dy):
        return dy * Times.factor * ctx.k * 0.5, None
"""


def from_file(path, text, monkeypatch):
    """A module of this text."""
    (path / "user_kernels.py").write_text(text)
    monkeypatch.syspath_prepend(path)
    monkeypatch.delitem(sys.modules, "user_kernels", raising=False)
    return __import__("user_kernels")


def gradient_of_three(source, *more):
    """What the class of a source sends back to three ones."""
    space = {}
    exec(source.text, space)
    x = torch.ones(3, requires_grad=True)
    eval(source.name, space).apply(x, *more).backward(torch.ones(3))
    return x.grad.tolist()


def test_a_class_of_a_file_comes_with_all_it_uses(tmp_path, monkeypatch):
    source = class_source(from_file(tmp_path, FILE, monkeypatch).Times)
    for word in ("forgotten", "json", "NamedTuple"):
        assert word not in source.text
    assert source.needs == ("no_such_package", "torch")
    assert source.defines == {"no_such_package", "HALF", "Base", "decorated", "product", "Times", "Callable"}
    assert gradient_of_three(source, 3.0) == [1.5] * 3


def test_an_import_from_the_own_package_gets_its_whole_name(tmp_path, monkeypatch):
    (tmp_path / "user_package").mkdir()
    (tmp_path / "user_package" / "__init__.py").write_text("")
    (tmp_path / "user_package" / "numbers.py").write_text("THREE = 3.0\n")
    text = "from torch.autograd import *\nfrom .numbers import THREE\nclass Named(Function):\n    three = THREE\n"
    (tmp_path / "user_package" / "kernels.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = class_source(__import__("user_package.kernels").kernels.Named)
    assert "from user_package.numbers import THREE" in found.text
    assert "from torch.autograd import *" in found.text


def test_a_class_inside_of_a_class_comes_with_that():
    source = class_source(Outer.Inner)
    assert source.name == "Outer.Inner"
    assert source.text.splitlines()[:2] == ["from torch.autograd import Function", ""]
    assert "SLOPE = 2.0" in source.text


def test_a_class_of_a_function_comes_alone_where_it_uses_nothing_of_that():
    class Alone(Function):
        @staticmethod
        def forward(ctx, x):
            return x.exp()

        @staticmethod
        def backward(ctx, dy):
            return math.floor(2.5) * Alone.same(dy)

        @staticmethod
        def same(x):
            return x

    assert gradient_of_three(class_source(Alone)) == [2.0] * 3


def test_what_a_function_around_it_holds_is_refused():
    scale = SLOPE = 3.0

    class Shadowed(Function):
        @staticmethod
        def forward(ctx, x):
            return x * SLOPE

        @staticmethod
        def backward(ctx, dy):
            return dy

    class Closed(Function):
        @staticmethod
        def forward(ctx, x):
            return x * scale

        @staticmethod
        def backward(ctx, dy):
            return dy

    class Defaults(Function):
        @staticmethod
        def forward(ctx, x, by=scale):
            return x * by

        @staticmethod
        def backward(ctx, dy):
            return dy

    space = {"Function": Function, "__name__": "typed_in"}
    exec("class Typed(Function):\n    forward = staticmethod(lambda ctx, x: x * 1)\n", space)
    for function, words in [
        (Shadowed, "uses SLOPE of the function"),
        (Closed, "uses scale of the function"),
        (Defaults, "uses scale of the function"),
        (space["Typed"], "source can't be found"),
    ]:
        with pytest.raises(RequestError, match=words):
            class_source(function)
