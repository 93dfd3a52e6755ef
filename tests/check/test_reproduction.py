"""A saved reproduction shows the fault by itself, and stops showing it once the fault is gone."""

import io
import math
import runpy
import subprocess
import sys
import textwrap
from contextlib import redirect_stdout

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import Function

from bptrain.check.autocast import Autocast
from bptrain.check.reproduction import Evidence, save
from bptrain.errors import RequestError
from bptrain.reference.draws import Draws

SLOPE = 2.002
unused = math.pi


def slope(x):
    return SLOPE * x


class Square(Function):
    """Its gradient is 0.1 % too large."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return slope(x) * dy


class Outer:
    class Cube(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, dy):
            return -3 * ctx.saved_tensors[0] ** 2 * dy


def draw(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def witnessed(function, args, ours, *, kwargs=None, wanted=(0,), dy=None, **more):
    """Evidence of a call, with what autograd makes of it."""
    kwargs = kwargs or {}
    leaves = [x.clone().requires_grad_(i in wanted) if isinstance(x, torch.Tensor) else x for i, x in enumerate(args)]
    again = [x.clone() if isinstance(x, torch.Tensor) else x for x in leaves]
    y = (function.apply if isinstance(function, type) else function)(*again, **kwargs)
    y = y if isinstance(y, torch.Tensor) else y[0]
    dy = torch.ones_like(y) if dy is None else dy
    y.backward(dy)
    theirs = {i: leaves[i].grad for i in wanted}
    expected = dict(zip(wanted, ours if isinstance(ours, list) else [ours], strict=True))
    names = {i: f"argument {i}" for i in wanted}
    return Evidence(function, tuple(args), kwargs, names, {0: dy}, theirs, expected, **more)


def run(folder):
    """The exit code and the words of the script."""
    words = io.StringIO()
    with pytest.raises(SystemExit) as end, redirect_stdout(words):
        runpy.run_path(str(folder / "repro.py"))
    return end.value.code, words.getvalue()


def run_apart(folder):
    """The same from an empty directory, in a Python of its own without anything of the surroundings."""
    aside = folder.parent / "aside"
    aside.mkdir()
    done = subprocess.run([sys.executable, "-I", folder / "repro.py"], cwd=aside, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def repair(folder, wrong, right):
    text = (folder / "repro.py").read_text()
    assert wrong in text
    (folder / "repro.py").write_text(text.replace(wrong, right))


def test_a_wrong_custom_backward_is_shown_until_it_is_right(tmp_path):
    x, dy = draw(3, 5), draw(3, 5, seed=1)
    folder = tmp_path / "repro"
    save(witnessed(Square, [x], 2 * x.double() * dy, dy=dy), folder, "Square at model.py:3 is wrong\nby 0.1 %")
    text = (folder / "repro.py").read_text()
    assert text.startswith("# Square at model.py:3 is wrong\n# by 0.1 %\n")
    assert "unused" not in text
    assert "bptrain" not in text
    status, words = run_apart(folder)
    assert run(folder) == (status, words)
    assert status == 1
    assert "Autograd is off by a factor 1.001" in words
    assert "no judge" not in words
    autograd, expected, differences = (float(line.split()[1]) for line in words.splitlines()[1:4])
    assert autograd == pytest.approx(1.001 * expected, rel=1e-6)
    assert differences == pytest.approx(expected, rel=1e-6)
    repair(folder, "SLOPE = 2.002", "SLOPE = 2.0")
    status, words = run(folder)
    assert status == 0
    assert "Autograd is right." in words


def test_the_script_is_short_but_for_the_class(tmp_path):
    x = draw(3)
    save(witnessed(torch.sin, [x], x.double()), tmp_path, "a fault")
    lines = (tmp_path / "repro.py").read_text().splitlines()
    assert len(lines) < 70
    assert max(map(len, lines)) <= 120


def test_a_fault_in_float64_is_shown(tmp_path):
    x = draw(4, dtype=torch.float64)
    save(witnessed(Outer.Cube, [x], 3 * x**2), tmp_path / "repro", "a sign")
    words = run(tmp_path / "repro")[1]
    assert "a factor -1." in words
    expected, differences = (float(line.split()[1]) for line in words.splitlines()[2:4])
    assert differences == pytest.approx(expected, rel=1e-6)


TIMES = """
import torch

def scaled(x, k):
    return x * k

class Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, k):
        ctx.k = k
        return scaled(x, k)

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.k * 0.5, None
"""


def from_file(path, text, monkeypatch):
    """A module of this text."""
    (path / "user_kernels.py").write_text(text)
    monkeypatch.syspath_prepend(path)
    monkeypatch.delitem(sys.modules, "user_kernels", raising=False)
    return __import__("user_kernels")


def test_what_cannot_be_written_out_is_refused_in_words(tmp_path, monkeypatch):
    (tmp_path / "user").mkdir()
    kernels = from_file(tmp_path / "user", TIMES.replace("scaled", "call_again"), monkeypatch)
    x = draw(3)
    for function, args, words in [
        (kernels.Times, [x, 2.0], "it uses call_again"),
        (lambda x: x * 2, [x], "no name in torch"),
        (torch.add, [x, object()], "type object can't be written out"),
        (torch.sin, [], "no gradient came back"),
    ]:
        dy = {0: x} if args else {}
        evidence = Evidence(function, tuple(args), {}, {0: "x"}, dy, {0: x}, {0: 2 * x.double()})
        with pytest.raises(RequestError, match=words):
            save(evidence, tmp_path / "none", "")
    assert not (tmp_path / "none").exists()


def test_a_wrong_kernel_of_torch_is_shown_beside_the_differences(tmp_path):
    bags, w = torch.tensor([[1, 1, 3]]), draw(5, 3)
    ours = torch.zeros(5, 3, dtype=torch.float64)
    ours[[1, 3]] = 1.0
    shown = witnessed(F.embedding_bag, [bags, w], ours, kwargs={"mode": "sum", "scale_grad_by_freq": True}, wanted=(1,))
    wrong = not torch.equal(shown.theirs[1].double(), ours)  # to the release that has pytorch/pytorch#190264
    save(shown, tmp_path / "repro", "")
    status, words = run(tmp_path / "repro")
    assert status == wrong
    assert ("off by a factor 0.5." if wrong else "Autograd is right.") in words


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (torch.Tensor.mul_, [draw(3, 2), draw(3, 2, seed=1)], {}),
        (torch.Tensor.__getitem__, [draw(5, 4), (slice(1, None, 2), ..., None, 2)], {}),
        (torch.Tensor.T.__get__, [draw(3, 2)], {}),
        (torch.ops.aten.alias.default, [draw(3)], {}),
        (F.scaled_dot_product_attention, [draw(2, 3, 4), draw(2, 3, 4), draw(2, 3, 4)], {"scale": 0.3}),
        (torch.clamp, [draw(5)], {"min": -math.inf, "max": 0.2}),
        (torch.sum, [draw(2, 3).to(torch.bfloat16)], {"dim": (0,), "dtype": torch.float32}),
        (torch.split, [draw(6), [2, 4]], {}),
        (torch.abs, [draw(4, dtype=torch.complex64)], {}),
        (F.conv2d, [draw(2, 3, 5, 5).to(memory_format=torch.channels_last), draw(2, 3, 3, 3)], {"padding": "same"}),
        (F.dropout, [draw(40)], {"p": 0.5}),
    ],
    ids="in_place index getter operator attention infinite coarse list complex strided random".split(),
)
def test_any_call_of_torch_is_made_again_as_it_was(function, args, kwargs, tmp_path):
    """A right gradient, evidence that it is wrong by 1 % of itself: the script finds autograd right, now."""
    draws = Draws.now()
    right = witnessed(function, args, torch.empty(0), kwargs=kwargs, draws=draws).theirs[0]
    ours = right.to(torch.complex128 if right.is_complex() else torch.float64)
    draws.restore()
    shown = witnessed(function, args, ours, kwargs=kwargs, draws=draws)
    shown.theirs[0] = right * 1.01
    save(shown, tmp_path / "repro", "")
    status, words = run(tmp_path / "repro")
    assert status == 0, words
    assert "no judge" not in words
    assert "set_rng_state" in (tmp_path / "repro" / "repro.py").read_text() or function is not F.dropout
    assert "empty_strided" in (tmp_path / "repro" / "repro.py").read_text() or function is not F.conv2d
    shown.ours[0] = ours / 1.01
    save(shown, tmp_path / "repro", "")
    status, words = run(tmp_path / "repro")
    assert status == 1
    assert "off by a factor 1.01." in words


def test_an_assignment_is_shown_by_the_tensor_that_it_wrote_to(tmp_path):
    x, v = draw(4), draw(2)
    evidence = Evidence(
        torch.Tensor.__setitem__,
        (x, slice(0, 2), v),
        {},
        {1: "value"},
        {0: torch.ones(4)},
        {1: torch.full((2,), 1.01)},
        {1: torch.ones(2, dtype=torch.float64)},
    )
    save(evidence, tmp_path / "repro", "")
    status, words = run(tmp_path / "repro")
    assert status == 0, words


def test_casts_that_were_automatic_are_made_again(tmp_path):
    x, w = draw(4, 3), draw(2, 3)
    casts = Autocast((("cpu", torch.bfloat16),))
    with casts.on():
        shown = witnessed(F.linear, [x, w], torch.empty(0))
    coarse = shown.theirs[0].double()
    shown.ours[0] = coarse
    shown.theirs[0] = coarse * 1.001
    save(Evidence(**{**vars(shown), "autocast": casts}), tmp_path / "repro", "")
    status, words = run(tmp_path / "repro")
    assert status == 0, words


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("None", "a factor 0."),
        ("dy * float('nan')", "a factor nan."),
        ("0 * dy", "a factor 0."),
        ("dy + 1", "is off by"),
    ],
)
def test_a_gradient_that_is_no_number_or_none_is_shown(made, words, tmp_path, monkeypatch):
    (tmp_path / "user").mkdir()
    text = TIMES.replace("return dy * ctx.k * 0.5, None", f"return {made}, None")
    kernels, x = from_file(tmp_path / "user", text, monkeypatch), draw(2, 3)
    shown = witnessed(kernels.Times, [x, 3.0], torch.full((2, 3), 3.0, dtype=torch.float64))
    save(shown, tmp_path / "repro", textwrap.shorten(made, 40))
    status, said = run(tmp_path / "repro")
    assert status == 1
    assert words in said
    repair(tmp_path / "repro", f"return {made}, None", "return dy * 3, None")
    assert run(tmp_path / "repro")[0] == 0


def test_another_fault_in_the_place_of_the_first_is_no_repair(tmp_path, monkeypatch):
    (tmp_path / "user").mkdir()
    kernels, x = from_file(tmp_path / "user", TIMES, monkeypatch), draw(2, 3)
    shown = witnessed(kernels.Times, [x, 3.0], torch.full((2, 3), 3.0, dtype=torch.float64))
    save(shown, tmp_path / "repro", "")
    repair(tmp_path / "repro", "return dy * ctx.k * 0.5", "return dy * 3 + 8 * torch.tensor([1, -1, 0])")
    assert run(tmp_path / "repro")[0] == 1
