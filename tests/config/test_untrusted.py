"""Configs of strangers: none makes a reader slow, reads the environment or has anything called."""

import os

import pytest

from bptrain.config.compose import compose, settings_of
from bptrain.errors import RequestError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{k}: &{k} [{', '.join([f'*{j}'] * 9)}]\n" for j, k in zip("abcdefghi", "bcdefghij", strict=True)
)
LONG = "a: " + "${b}" * 1000 + "\nb: " + "${c}" * 1000 + "\nc: " + "x" * 1000 + "\n"
WIDE = "a: ['${b}', '${b}']\n" + "".join(
    f"{j}: ['${{{k}}}', '${{{k}}}']\n" for j, k in zip("bcdef", "cdefg", strict=True)
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB, [":1:", "anchor & or alias *"]),
        ("name: &n adam\nlr: 0.1\n", [":1:", "anchor"]),
        ("<<: &x {lr: 1}\nname: adam\n", ["anchor"]),
        ("x: " + "y" * 1_000_000, ["more than 1,000,000 bytes"]),
        ("x: " + "[" * 40 + "]" * 40, ["more than 32 levels"]),
        ("{a: " * 100_000, ["more than 32 levels"]),
        ("- 1\n" * 3_001, ["more than 3,000 values"]),
        ("name: adam\nlr: 1\nname: sgd\n", [":3:", "duplicate key 'name'"]),
        ("name: adam\nbetas: {a: 1, a: 2}\n", [":2:", "duplicate key 'a'"]),
        ("name: ad\0am\n", [":1:", "U+0000"]),
        ("name: adam\n# \x1b[2J\n", [":2:", "U+001B"]),
        ("name: adam # \x9b31m\n", [":1:", "U+009B"]),
        (b"\xff\xfen\0a\0", ["UTF-8"]),
        (b"name: \xed\xa0\x80\n", ["UTF-8"]),
        ("name: !!python/object/apply:os.system [touch tripped]\n", ["mine"]),
        ("name: !!python/name:os.system\n", ["mine"]),
        ("!!python/object/new:os.system [touch tripped]\n", ["mine"]),
        *((f"name: adam\nx: {{{key}: os.system}}\n", [f"{key} makes Hydra call"]) for key in ("_target_", "_partial_")),
        *((f"name: adam\n{key}: [touch tripped]\n", [f"{key} makes Hydra call"]) for key in ("_args_", "_call_")),
        *((f"name: adam\n{key}: false\n", [f"{key} makes Hydra call"]) for key in ("_convert_", "_recursive_")),
        ("defaults: [_self_, /optimizer/other]\nname: adam\n", ["other.yaml:1", "_target_ makes Hydra call"]),
        ("name: ${oc.env:SECRET}\n", ["optimizer.name", "resolver oc.env"]),
        ("name: ${oc.decode:'${oc.env:SECRET}'}\n", ["optimizer.name", "resolver oc.decode"]),
        ("name: 'x${ oc.env : SECRET , y}'\n", ["optimizer.name", "resolver oc.env"]),
        ("name: ${hydra:runtime.cwd}\n", ["optimizer.name", "resolver hydra"]),
        ("name: ${now:%Y}\n", ["optimizer.name", "resolver now"]),
        ("name: ${${seed}}\n", ["optimizer.name", "more than the name of a key"]),
        ("name: ${name.${seed}}\n", ["optimizer.name", "more than the name of a key"]),
        ("name: ${.lr}\nlr: ${.name}\n", ["refers to itself"]),
        ("name: adam\nlr: ${optimizer}\n", ["refers to itself"]),
        (LONG.replace("${", "${optimizer."), ["more than 1,000,000 characters"]),
        (WIDE.replace("${", "${optimizer.") + "g: ['${optimizer.h}']\nh: ['${optimizer.i}']\n"
         "i: ['${optimizer.j}']\nj: ['${optimizer.k}']\nk: 1\n", ["more than 8 interpolations"]),
        ("name: ${.a.b}\na: ${seed}\n", ["refers to a key of an interpolation"]),
    ],
)  # fmt: skip
def test_a_file_of_a_stranger_is_refused_with_what_is_wrong_and_nothing_is_run(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "adam-canary")
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "optimizer" / "other.yaml").write_text("_target_: os.system\n")
    with pytest.raises(RequestError) as caught:
        settings_of(compose(["optimizer=mine"], str(tmp_path)))
    for word in words:
        assert word in str(caught.value)
    assert len(str(caught.value)) < 500
    assert "canary" not in str(caught.value)
    assert os.listdir(tmp_path) == ["optimizer"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("name='${oc.env:SECRET}'", "resolver oc.env"),
        ("+model._target_=os.system", "_target_ makes Hydra call"),
        ("name=" + "[" * 3000 + "]" * 3000, "more than 32 levels of brackets"),
        ("+optimizer.x=" + "{a:" * 3000 + "1" + "}" * 3000, "more than 32 levels of brackets"),
    ],
)
def test_a_word_of_a_stranger_is_refused_too(monkeypatch, word, said):
    monkeypatch.setenv("SECRET", "canary")
    with pytest.raises(RequestError, match=said) as caught:
        settings_of(compose([word]))
    assert "canary" not in str(caught.value)


def test_an_interpolation_may_name_a_key(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "defaults: [train, _self_]\nname: run-${seed}-${model.sizes[0]}\nfit: {epochs: 3, batch_size: '${.epochs}'}\n"
    )
    settings = settings_of(compose(["model.sizes=[7]"], str(tmp_path), "own"))
    assert (settings.name, settings.fit.batch_size) == ("run-0-7", 3)
