"""What a stranger wrote is shown, and moves no cursor, changes no title, hides nothing and turns no text around."""

import json
import os

import pytest

from bptrain.cli.main import main
from bptrain.errors import printable

TINY = ["data=iris", "model.sizes=[3]", "fit.epochs=1", "check.enabled=false", "name=tiny"]
TEXTS = {
    "clears the screen": "a\x1b[2J\x1b[Hb",
    "sets the title": "a\x1b]0;owned\x07b",
    "a link": "a\x1b]8;;http://x\x1b\\b",
    "C1": "a\x9b31mb\x90q\x9c",
    "backspaces": "abc\b\b\bxyz",
    "delete": "a\x7fb",
    "right to left": "a\u202egnp.exe\u202c",
    "isolates": "a\u2066b\u2069",
    "marks": "a\u200e\u200f\u061cb",
    "nothing to see": "a\u200b\u200c\u200d\ufeffb",
    "line and paragraph": "a\u2028b\u2029c",
    "next line": "a\x85b\x0b\x0cc",
    "a surrogate": "a\udc9bb",
}
MARKUP = ["[red]x", "x[/red]", "[/]", "[link=http://x]x", "[@click=f]x[/]", "\\[red]x", ":warning:"]


def shown(text):
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_error_shows_what_it_quotes_as_what_it_is(folder, refused, text):
    text = text.encode("utf-8", "replace").decode()  # what a file can hold
    cell = text.translate({11: None, 12: None})  # which count as space
    rows = "".join(f"{i},{'ab'[i % 2]}\n" for i in range(40))
    words = ["data=csv", "data.path=x", "data.target=y"]
    (folder / "x").write_bytes(f"{cell},y\nword,a\n{rows}".encode())
    refused(words, "x:2: column '", "is 'word', no number")
    (folder / "x").write_bytes(f"x,y\n{cell},a\n{rows}".encode())
    refused(words, "x:2: column 'x' is '", "no number")
    (folder / "x").write_bytes(f"x,y\n1,{cell}\n{rows}".encode())
    refused(words, "class 'a", "has only 1 row")
    (folder / "x").write_bytes(f"x,{cell}\n1,2\n".encode())
    refused(words, "x has no column 'y'")
    assert shown(printable(text))


@pytest.mark.parametrize("text", [text for text in TEXTS.values() if text.isascii() or "\udc9b" not in text], ids=repr)
def test_a_command_line_and_a_file_name_are_shown_as_what_they_are(folder, refused, text):
    refused(["resume", text])
    refused(["--config-name", text])
    refused(["runs", text])
    refused(["model", text])
    (folder / f"{text.replace('/', '')}.csv").write_text("x,y\n1,2\n")
    refused(["data=csv", f"data.path='./{text}.cs'", "data.target=y"])


@pytest.mark.parametrize("text", [*TEXTS.values(), *MARKUP], ids=repr)
def test_a_directory_of_a_run_is_listed_as_what_it_is(folder, run, change, capsys, text):
    for keys in (["status"], ["monitor"], ["epochs"], ["seconds"], ["gradients"]):
        change(folder / run / "summary.json", keys, {"verdict": text} if keys == ["gradients"] else text)
    change(folder / run / "lock.json", ["overrides"], [text, text])
    if "\udc9b" not in text and "/" not in text:
        (folder / run).rename((folder / run).with_name(text))
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert shown(out)
    assert len(out.splitlines()) == 2
    assert printable(text) in out


@pytest.mark.parametrize("text", [*TEXTS.values(), *MARKUP], ids=repr)
def test_a_run_that_goes_on_says_and_logs_what_its_files_hold_as_what_it_is(folder, run, change, capsys, text):
    change(folder / run / "lock.json", ["overrides"], [text])
    assert main(["resume", str(run), "fit.epochs=3"]) == 0
    out = capsys.readouterr().out
    assert printable(text) in out
    assert shown(out)
    assert shown((folder / run / "train.log").read_text())


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_terminal_is_sent_no_more_than_a_file(folder, run, change, capsys, monkeypatch, text):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "500")
    change(folder / run / "summary.json", ["status"], text)
    change(folder / run / "lock.json", ["overrides"], [text])
    for line in (["runs"], ["resume", str(run), "fit.epochs=3"]):
        assert main(line) == 0
        out = capsys.readouterr().out
        assert "\x1b[" in out
        assert printable(text) in out
        assert text not in out


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_differs_from_a_lock_is_said_as_what_it_is(folder, run, refused, change, capsys, text):
    change(folder / run / "lock.json", ["versions", "torch"], text)
    refused(["resume", str(run)], "torch was a")
    change(folder / run / "lock.json", ["engine"], text)
    capsys.readouterr()
    assert main(["reproduce", "-q", str(run)]) == 0
    err = capsys.readouterr().err
    assert shown(err)
    assert "torch was a" in err
    assert "by the engine a" in err


def test_files_and_columns_of_odd_names_are_trained_on(folder, capsys):
    name, column = "x\u202e[red]\x1b[2J", "y\x1b]0;owned\x07"
    rows = "".join(f"{i % 7},{'ab'[i % 2]}\n" for i in range(40))
    (folder / name).write_text(f"x,{column}\n{rows}")
    assert main([*TINY, "data=csv", f"data.path='{name}'", f"data.target='{column}'"]) == 0
    assert shown(capsys.readouterr().out)
    (run,) = (folder / "outputs/tiny").iterdir()
    assert shown((run / "train.log").read_text())
    assert "\\u202e" in (run / "train.log").read_text()


@pytest.mark.parametrize("text", ["a\u202eb", "a\u2066b", "a\u200bb", "a\x1b[2Jb"], ids=repr)
def test_a_composed_config_is_shown_as_what_it_is(folder, capsys, text):
    (folder / "own").mkdir()
    (folder / "own/theirs.yaml").write_text(f"defaults: [train, _self_]\nname: x\nmonitor: {json.dumps(text)}\n")
    for more in ([], ["--resolve"]):
        assert main(["--config-dir", "own", "--config-name", "theirs", "--cfg", "job", *more]) == 0
        assert shown(capsys.readouterr().out)


def test_a_run_leaves_no_file_that_a_spreadsheet_or_a_browser_would_run(folder, run):
    names = {name for _, _, names in os.walk(folder / run) for name in names}
    ends = {name.rpartition(".")[2] for name in names}
    assert ends <= {"json", "jsonl", "yaml", "log", "safetensors", "lock"}
    assert ends >= {"json", "jsonl", "log"}
