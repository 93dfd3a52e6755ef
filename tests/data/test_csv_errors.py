"""What a user reads when a CSV file, or what is asked of it, is wrong."""

import os

import pytest

from bptrain.config.read import read_component
from bptrain.data.split import Split
from bptrain.data.table import CSV
from bptrain.errors import RequestError

BODY = "".join(f"{i},{i % 3},{'red' if i % 2 else 'blue'}\n" for i in range(30))
GOOD = "x,y,z\n" + BODY
IDS = "x,y,z\n" + "".join(f"u{i},{i % 3},a\n" for i in range(120))
WIDE = ",".join(f"c{i}" for i in range(14)) + ",y\n" + ",".join([""] * 14) + ",1\n" + ",".join(["2"] * 14) + ",2\n"


def change(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


def complaint(tmp_path, monkeypatch, content, **settings):
    monkeypatch.chdir(tmp_path)
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(RequestError) as caught:
        CSV(**{"path": "a.csv", "target": "y"} | settings).load(0)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["a.csv: is empty", "first line must name the columns"]),
        (" \n\n", ["a.csv: is empty"]),
        ("x,y,z\n", ["a.csv: has a header but no rows"]),
        ("x,y,z\n\n,,\n", ["a.csv: has a header but no rows"]),
        (change("red", "r\xe9d").encode("latin-1"), ["a.csv:3: byte 0xe9 is not UTF-8", "Save the file as UTF-8"]),
        (GOOD.encode("utf-16"), ["a.csv:1: byte 0xff is not UTF-8"]),
        (GOOD + "1,2,3,4\n", ["a.csv:32: 4 values here, but the header has 3"]),
        (GOOD + "1,2,3,", ["a.csv:32: 4 values here, but the header has 3"]),
        (change("7,1,red", "7,1"), ["a.csv:9: 2 values here, but the header has 3"]),
        ('x,y,z\n1,2,"a\nb"\n1,2\n', ["a.csv:4: 2 values here"]),
        (change("7,1,red", '7,1,"red'), ["a.csv:9: a value can't be read", "quote not closed"]),
        (change("7,1,red", '7,1,"r"ed'), ["a.csv:9: a value can't be read", "written twice"]),
        (change("7,1,red", '7,1,r"ed'), ["a.csv:9: a quote stands inside a value that is not quoted"]),
        ("x,y,x\n" + BODY, ["a.csv:1: 2 columns are named 'x'"]),
        ("x,y,x\n1,2\n", ["a.csv:1: 2 columns are named 'x'", "a.csv:2: 2 values here"]),
        (",y,z\n" + BODY, ["a.csv: column 1 has no name", "data.drop=['']"]),
        ("x,yy,z\n" + BODY, ["data.target: a.csv has no column 'y'", "Did you mean 'yy'?"]),
        ("a,b,c\n" + BODY, ["data.target: a.csv has no column 'y'", "Known: a, b, c."]),
        (GOOD.replace(",", ";"), ["no column 'y'", "Its only column is 'x;y;z'", "\"data.separator=';'\""]),
        (GOOD.replace(",", "\t"), ["no column 'y'", "data.separator=tab"]),
        (change("7,1,red", ",1,red"), ["a.csv:9: column 'x' is empty.", "data.drop=[x]"]),
        (change("\n7,1,red", "\n\n\n,1,red"), ["a.csv:11: column 'x' is empty."]),
        (change("7,1,red", ",1,red").replace("9,0,red", ",0,red"), ["a.csv:9: column 'x' is empty (1 more below)."]),
        (change("7,1,red", "nan,1,red"), ["a.csv:9: column 'x' is 'nan', no finite number"]),
        (change("7,1,red", "-inf,1,red"), ["a.csv:9: column 'x' is '-inf', no finite number"]),
        (change("7,1,red", "1e39,1,red"), ["a.csv:9: column 'x' is '1e39', no finite number"]),
        (change("7,1,red", "n/a,1,red"), ["a.csv:9: column 'x' is 'n/a', no number", "data.categorical=[x]"]),
        (change("7,1,red", "7,1,"), ["a.csv:9: column 'z' is empty"]),
        (change("7,1,red", "7,,red"), ["a.csv:9: column 'y' is empty. Correct it or remove the row."]),
        (change("7,1,red", "7,?,red"), ["a.csv:9: column 'y' is '?', no number", "data.task=classification"]),
        (change("7,1,red", "7,inf,red"), ["a.csv:9: column 'y' is 'inf', no finite number"]),
        (
            change("7,1,red", ",1,").replace("9,0,", "9,,"),
            ["a.csv:9: column 'x'", "a.csv:9: column 'z'", "data.drop=[z]"],
        ),
        ("x,y\n1,2\n3,2\n", ["the target 'y' is 2 in every row", "nothing to learn"]),
        ("y\n1\n2\n", ["a.csv: no column is left as a feature"]),
        ("x,y\n1,a\n3,b\n", ["2 rows", "none is left to train on"]),
        (GOOD + "1,7,red\n", ["class '7' has only 1 row", "data.split.by=random"]),
        (IDS, ["column 'x' has 120 different texts, such as 'u0'", "data.drop=[x]", "data.categories"]),
        ("x,y\n" + "".join(f"{i},u{i}\n" for i in range(30)), ["'y' has 30 different values in 30 rows", "no classes"]),
        (WIDE, ["column 'c0' is empty", "column 'c9' is empty", "4 more columns are wrong"]),
    ],
)
def test_a_wrong_file_is_explained(tmp_path, monkeypatch, content, words):
    message = complaint(tmp_path, monkeypatch, content)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"drop": ("w", "y"), "target": "x"}, ["data.drop: a.csv has no column 'w'", "Known: x, y, z"]),
        ({"drop": ("y",)}, ["data.drop: names the target 'y'"]),
        ({"categorical": ("xx", "y")}, ["data.categorical: a.csv has no column 'xx'", "names the target 'y'"]),
        ({"drop": ("x", "z")}, ["no column is left as a feature"]),
        ({"separator": "::"}, ["data.separator: must be one ASCII character, not '::'"]),
        ({"separator": '"'}, ["data.separator: must be one ASCII character"]),
        (
            {"target": "z", "task": "regression"},
            ["a.csv:2: column 'z' is 'blue', no number", "data.task=classification"],
        ),
        ({"target": "x", "task": "classification"}, ["'x' has 30 different values", "data.task=regression"]),
        ({"target": "x", "split": Split(by="stratified")}, ["data.split.by: stratified needs classes"]),
        ({"categorical": ("x",), "categories": 29}, ["column 'x' has 30 different texts"]),
        ({"target": ("x", "w")}, ["data.target: a.csv has no column 'w'"]),
        ({"target": ("x", "z")}, ["a.csv:2: column 'z' is 'blue', no number"]),
        ({"target": ("x", "y"), "task": "classification"}, ["data.target", "data.task=multilabel"]),
        ({"target": ("x", "y"), "task": "multilabel"}, ["column 'x' has values other than 0 and 1"]),
        ({"target": ()}, ["data.target: names no column"]),
        ({"path": "nope.txt"}, ["nope.txt: there is no such file in"]),
        ({"path": "b.csv"}, ["b.csv: there is no such file in", "Did you mean 'a.csv'?"]),
        ({"path": "."}, [".: can't be read: Is a directory"]),
        ({"path": "a.csv/b"}, ["a.csv/b: can't be read: Not a directory"]),
    ],
)
def test_a_wrong_request_is_explained(tmp_path, monkeypatch, settings, words):
    message = complaint(tmp_path, monkeypatch, GOOD, **settings)
    for word in words:
        assert word in message


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    for path in (str(tmp_path / "a.csv"), "/dev/zero"):
        with pytest.raises(RequestError, match="is no regular file"):
            CSV(path=path, target="y").load(0)


def test_path_and_target_must_be_given():
    problems = []
    read_component("data", {"name": "csv", "path": "???", "split": {"validation": 0.5, "test": 0.5}}, "data", problems)
    message = "\n".join(map(str, problems))
    for words in ("data.path: is missing. The CSV file", "data.target: is missing.", "data.split: validation 0.5 and"):
        assert words in message
