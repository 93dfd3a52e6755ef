"""YAML files of a --config-dir, mutated as a hand or a disk would: each composes, or is refused in a short message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptrain.config.tree import config_root

PRESET = """# @package _global_
defaults:
  - override /model: cnn
  - override /data: digits
  - other
  - _self_

name: mine
seed: 3
optimizer: {name: adam, lr: 0.01, betas: [0.9, 0.99]}
fit:
  epochs: 4
  checkpoint: {every: 5min, keep: [last]}
model:
  channels: [4, 4]
  activation: {name: relu}
"""
START = "defaults:\n  - train\n  - _self_\nname: started\nfit:\n  epochs: 2\n"
FILES = {
    "experiment/mine.yaml": PRESET,
    "own.yaml": START,
    **{
        name: (config_root() / name).read_text()
        for name in ("optimizer/adam.yaml", "data/csv.yaml", "fit/default.yaml")
    },
}
WORDS = {  # that choose each of them
    "experiment/mine.yaml": ["experiment=mine"],
    "own.yaml": ["--config-name", "own"],
    "optimizer/adam.yaml": [],
    "data/csv.yaml": ["data=csv", "data.path=x.csv", "data.target=y"],
    "fit/default.yaml": [],
}
LINES = [
    "a: &a [*a]", "x: *nothing", "<<: {seed: 1}", "<<: *a", "y: !!python/object/apply:os.system [ls]", "z: !mine 3",
    "seed: 3", "name: 1", "name: [", "name: {a: {b: {c: 1}}}", "? [a, b]\n: 1", "? {a: 1}\n: 2", "1: 2", "null: 3",
    "true: 1", "1.5: x", "'': 1", "2020-01-01: 1", "d: 2020-01-01", "t: 12:30:45", "b: !!binary aGk=",
    "s: !!set {a, b}", "o: !!omap [a: 1]", "- a", "---", "...", "--- !x", "%YAML 1.1", "%TAG ! tag:x,2000:", "@x: 1",
    "`x`: 1", "\tx: 1", "x:\t1", "x: |\n  a\n b", "x: >-\n\n\n", "x: 'a", 'x: "\\q"', 'x: "\\0"', "x: \\u0000",
    "x: ${seed}", "x: ${oc.env:HOME}", "name: ${x}", "seed: ${seed}", "x: ${..}", "hydra: {}",
    "hydra:\n  run: {dir: x}", "_target_: os.system", "defaults: [nothing]", "defaults: [mine]", "defaults: [own]",
    "defaults: [{optimizer: adam}]", "defaults: 3", "defaults: [[a]]", "defaults: [{a: b, c: d}]",
    "defaults: [{override /model: nothing}]", "defaults: [{/model: [mlp, cnn]}]", "defaults: [optional nothing]",
    "defaults: [{optional /model: nothing}]", "defaults: [/../../../etc/x]", "defaults: ['${seed}']",
    "defaults: [null]", "defaults: [_self_, _self_]", "defaults: [{/model@x: mlp}]",
    "defaults: [{override /optimizer@_global_: sgd}]", "defaults: [train]", "defaults: {a: b}", "defaults: [{1: 2}]",
    "defaults: [1]", "defaults: [{model: null}]", "defaults: ['???']", "defaults: [{/hydra/launcher: x}]",
    "defaults: ['@x']", "defaults: ['/']", "defaults: ['']", "# @package x.y", "# @package _group_", "# @package",
    "# @package hydra", "# @package a b", "x: " + "[" * 20 + "]" * 20, "x: " + "{a: " * 40, "lr: 1e999", "lr: .nan",
    "lr: -.inf", "epochs: 0x10", "epochs: 0o7", "epochs: 1_000", "epochs: " + "9" * 5000, "epochs: 190:20:30",
    "name: ???", "? x", ": y", "x: y: z", "[a]: b", "trust: os", "trust: [os]", "optimizer: adam", "optimizer: [1]",
    "model: null", "model: {}", "fit: 3", "fit: {}", "é: 1", "x: 😀", "x: \u202e", "x: \x07", "x: \x85y", "x: \u2028y",
    "x: '" + "y" * 5000 + "'", "k" * 2000 + ": 1", "- - - - a", "!!str seed: 1", "seed: !!str 1", "seed: !!int x",
    "seed: !!float 1", "seed: !!null x", "seed: !!bool 3", "seed: !!timestamp x",
    "name: !!int '9999999999999999999999'", "x: !<tag:yaml.org,2002:python/name:os>",
]  # fmt: skip
TEXTS = [
    ":", ": ", "- ", "\n", "  ", " ", "\t", "#", "[", "]", "{", "}", ",", "&a ", "*a", "!x ", "|", ">", "'", '"', "%",
    "@", "`", "?", "${", "}", "\\", "\r", "\x00", "é", "😀", "=", "~", "<<: ", "_", "0", "-", ".", "!!python/none ",
]  # fmt: skip


WAYS = ["cut", "behead", "without", "doubled", "swapped", "indented", "dedented", "typed", "twice"]
WAYS += ["line"] * 5 + ["value"] * 3 + ["text"] * 3
CODES = ["utf-8"] * 8 + ["utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-32"]


@st.composite
def mutated(draw):
    """The name of a file, and bytes that were its text once."""
    name = draw(st.sampled_from(sorted(FILES)))
    text = FILES[name]
    for _ in range(draw(st.integers(1, 3))):
        last = text.count("\n")
        i, j = draw(st.integers(0, last)), draw(st.integers(0, last))
        at, to = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        way = draw(st.sampled_from(WAYS))
        line = draw(st.sampled_from(LINES))
        piece = draw(st.sampled_from(TEXTS) if way == "text" else st.text(max_size=4))
        text = changed(text, way, i, j, at, to, line, piece)
    text = text.replace("\n", draw(st.sampled_from(["\n"] * 8 + ["\r\n", "\r"])))
    code = draw(st.sampled_from(CODES))
    return name, text.encode(code, "surrogatepass" if "utf" in code else "replace")


def changed(text, way, i, j, at, to, line, piece):
    """A text with one change, in the lines i and j or between the letters at and to."""
    lines = text.split("\n")
    match way:
        case "cut":
            return text[:at]
        case "behead":
            return text[at:]
        case "without":
            return text[:at] + text[to:]
        case "text" | "typed":
            return text[:at] + piece + text[at:]
        case "twice":
            return text + text
        case "line":
            lines.insert(i, line)
        case "doubled":
            lines.insert(i, lines[i])
        case "swapped":
            lines[i], lines[j] = lines[j], lines[i]
        case "indented":
            lines[i] = ("  ", "\t", " " * 9)[j % 3] + lines[i]
        case "dedented":
            lines[i] = lines[i].strip()
        case _:
            lines[i] = lines[i].partition(":")[0] + ": " + line.partition(": ")[2]
    return "\n".join(lines)


@pytest.mark.parametrize("count", [60, pytest.param(900, marks=pytest.mark.slow)])
def test_a_mutated_file_composes_or_is_refused_shortly(count, examples, told, tmp_path):
    for folder in ("experiment", "optimizer", "data", "fit"):
        (tmp_path / folder).mkdir()
    (tmp_path / "experiment" / "other.yaml").write_text("# @package _global_\nseed: 5\n")

    @examples(count)
    @given(mutated())
    def holds(case):
        name, content = case
        (tmp_path / name).write_bytes(content)
        try:
            told("--config-dir", str(tmp_path), *WORDS[name])
        finally:
            (tmp_path / name).unlink()

    holds()
