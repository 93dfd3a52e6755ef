"""Names that become paths, and directories that reach out of themselves: nothing is written outside of a run's own."""

import json
import os

import pytest

from bptrain.cli.main import main
from bptrain.train.checkpoint import FILES
from bptrain.train.checkpoint import read as read_checkpoint
from bptrain.train.checkpoint import write as write_checkpoint

TINY = ["data=iris", "model.sizes=[3]", "fit.epochs=1", "check.enabled=false"]
NAMES = {
    "above": "../x",
    "far above": "../../../../../../tmp/x",
    "absolute": "/tmp/x",
    "a folder": "a/b",
    "two points": "..",
    "a point": ".",
    "hidden": ".x",
    "a home": "~/x",
    "a dash": "-x",
    "a backslash": "a\\b",
    "nothing": "",
    "a space": "a b",
    "300 characters": "a" * 300,
    "no ASCII": "\u00e9x",
    "full width points": "\uff0e\uff0e",
    "a line": "a\n",
    "NUL": "a\0b",
    "escape": "a\x1b[2Jb",
    "an environment": "$HOME",
    "a drive": "C:x",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_that_is_no_plain_word_becomes_no_folder(folder, refused, name):
    (folder / "own").mkdir()
    (folder / "own/theirs.yaml").write_text(f"defaults: [train, _self_]\nname: {json.dumps(name)}\n")
    refused(["--config-dir", "own", "--config-name", "theirs", *TINY], "name: ")
    refused(["--config-dir", "own", "--config-name", "theirs", *TINY, "-m", "seed=1,2"], "name: ")
    if name.isprintable() and "\\" not in name:
        refused([*TINY, f"name='{name}'"], "name: ")
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize("name", ["x", "X-1_2.3", "a" * 100, "0"])
def test_a_plain_word_does(folder, name):
    assert main(["-q", *TINY, f"name='{name}'"]) == 0
    assert os.listdir(folder / "outputs") == [name]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("verb", ["resume", "reproduce"])
def test_a_lock_whose_config_names_another_place_is_refused(folder, run, refused, change, verb, name):
    change(folder / run / "lock.json", ["config", "name"], name)
    refused([verb, str(run)], "name: ")
    assert os.listdir(folder / "outputs") == ["tiny"]


@pytest.mark.parametrize("place", ["../..", "..", ".", "/", "outputs", "outputs/tiny", "own", "file", "pipe", "link"])
@pytest.mark.parametrize("verb", ["resume", "reproduce"])
def test_what_is_no_directory_of_a_run_is_refused(folder, run, refused, verb, place):
    (folder / "own").mkdir()
    (folder / "file").write_text("x")
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(folder / run)
    refused([verb, place], place)


LINKS = ["", "metrics.jsonl", "train.log", "lock.json", "summary.json", ".hydra", "checkpoints", "checkpoints/last"]


@pytest.mark.parametrize("name", [*LINKS, ".lock", *(f"checkpoints/last/{name}" for name in FILES)])
@pytest.mark.parametrize("link", ["symlink", "hard link", "pipe"])
def test_a_run_with_a_part_elsewhere_is_not_written_to(folder, tmp_path, run, refused, name, link):
    path, elsewhere = folder / run / name, tmp_path / "elsewhere"
    path.rename(elsewhere)
    if link == "pipe":
        os.mkfifo(path)
    elif link == "symlink" or elsewhere.is_dir():
        path.symlink_to(elsewhere)
    else:
        os.link(elsewhere, path)
    refused(["resume", str(run), "fit.epochs=3"], name)


@pytest.mark.parametrize("name", ["lock.json", "metrics.jsonl"])
def test_a_pipe_in_a_run_is_waited_for_by_no_verb(folder, run, refused, capsys, name):
    (folder / run / name).unlink()
    os.mkfifo(folder / run / name)
    refused(["reproduce", "-q", str(run)], f"has no {name}")
    assert main(["runs"]) == 0


@pytest.fixture
def sweep(folder, tmp_path):
    """A sweep of which the second trial has not finished."""
    assert main(["-q", "-m", *TINY, "name=tiny", "seed=1,2"]) == 0
    (path,) = folder.glob("outputs/tiny/sweeps/*")
    told = json.loads((path / "sweep.json").read_text())
    told["trials"][1] = {"number": 1, "overrides": ["seed=2"], "status": "interrupted"}
    (path / "sweep.json").write_text(json.dumps(told))
    return path.relative_to(folder)


@pytest.mark.parametrize("name", ["", "sweep.json", "1", "1/checkpoints", "1/lock.json", "0"])
def test_a_sweep_with_a_part_elsewhere_is_not_written_to(folder, tmp_path, sweep, refused, name):
    (folder / sweep / name).rename(tmp_path / "elsewhere")
    (folder / sweep / name).symlink_to(tmp_path / "elsewhere")
    refused(["resume", str(sweep)], name)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["trials"], 1),
        (["trials"], [1]),
        (["trials", 1], {}),
        (["trials", 1, "number"], "../../x"),
        (["trials", 1, "number"], -1),
        (["trials", 1, "number"], 10**18),
        (["trials", 1, "status"], 7),
        (["trials", 1, "overrides"], "seed=2"),
        (["trials", 0, "best"], "x"),
        (["trials", 0, "seconds"], "x"),
        (["trials", 0, "test"], [1]),
        (["words"], "seed=1,2"),
        (["words"], [1]),
        (["words"], [*TINY, "name=../x", "seed=1,2"]),
        (["config_dir"], 3),
        (["config_name"], "../../x"),
    ],
)
def test_a_sweep_that_states_nonsense_is_refused(sweep, folder, refused, change, keys, value):
    change(folder / sweep / "sweep.json", keys, value)
    refused(["resume", str(sweep)])


def test_the_honest_sweep_goes_on(sweep):
    assert main(["resume", "-q", str(sweep)]) == 0


@pytest.mark.parametrize("epoch", ["/../../../../../elsewhere", "1/../../../../../../elsewhere", 1.5, None, [], True])
def test_a_best_epoch_that_is_a_path_removes_nothing(folder, tmp_path, run, refused, epoch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    last = folder / run / "checkpoints/last"
    (folder / run / "checkpoints/epoch-1").mkdir()
    (folder / run / "checkpoints/epoch-").mkdir()
    made = read_checkpoint({path.name: path.read_bytes() for path in last.iterdir()})
    made.progress["top"][:] = [[0.0, 0.0, epoch]]
    for name, data in write_checkpoint(made).items():
        (last / name).write_bytes(data)
    words = ["fit.epochs=3", "fit.checkpoint.keep=[last,best,top-1]", "resume.allow=fit.checkpoint.keep"]
    refused(["resume", str(run), *words], "names best epochs that are none")
    assert (elsewhere / "precious").read_text() == "x"


SET = ["AB/../../x", "../x", "/etc/passwd", "", "a" * 101, "x\0y", "a.b"]


@pytest.mark.parametrize("name", SET)
def test_the_name_of_a_set_is_no_path(folder, refused, name):
    (folder / "own").mkdir()
    (folder / "own/theirs.yaml").write_text(
        f"defaults: [train, {{override data: ucr}}, _self_]\nname: x\ndata: {{set: {json.dumps(name)}}}\n"
    )
    refused(["--config-dir", "own", "--config-name", "theirs"], "data.set: ")


def test_a_table_is_cached_outside_of_the_working_directory_only_where_the_user_made_room(folder, tmp_path, refused):
    import polars

    polars.DataFrame({"x": range(40), "y": [0, 1] * 20}).write_parquet(folder / "x")
    words = ["-q", *TINY, "name=x", "data=parquet", "data.path=x", "data.target=y"]
    (folder / "datasets").symlink_to(tmp_path)
    for place in (tmp_path, "..", tmp_path / "new", "datasets"):
        refused([*words, f"data.folder={place}"], "data.folder: ", "outside of the working directory")
    (tmp_path / "cache").mkdir()
    assert main([*words, f"data.folder={tmp_path}"]) == 0
    assert main([*words, "data.folder=inside"]) == 0


@pytest.mark.parametrize("way", ["csv", "npy", "parquet", "series"])
def test_a_config_that_names_a_secret_has_it_read_but_not_told(folder, refused, way):
    secret = "".join(f"user{i}:hash{i}:{i}:root:/home/user{i}:/bin/sh\n" for i in range(300))
    (folder / "secret").write_text(secret)
    more = {"series": ["data.column=y", "data.window=2"]}.get(
        way, ["data.target=secret" if way == "npy" else "data.target=y"]
    )
    err = refused([f"data={way}", "data.path=secret", *more], "secret")
    assert sum(f"hash{i}:" in err for i in range(300)) <= 1
