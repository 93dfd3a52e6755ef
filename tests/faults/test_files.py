"""Files: what stands on disk when a write is cut off at any of its steps."""

import json
import os

import pytest
from disks import Crash, Crashing

from bptrain import files
from bptrain.errors import RunFailed

OLD, NEW = {"a": b"old a", "b": b"old b"}, {"a": b"new a", "c": b"new c"}


def crash(function, path, content, disk):
    """Has a call end in the middle, as by a crash."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "disk", disk)
        with pytest.raises(Crash):
            function(path, content)


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


CRASHES = [*(("replace", call) for call in (1, 2)), *(("fsync", call) for call in range(1, 5))]


@pytest.mark.parametrize(("name", "call"), CRASHES)
def test_a_whole_copy_survives_a_crash_at_any_step_and_the_next_call_goes_through(tmp_path, name, call):
    path = tmp_path / "last"
    files.replace_directory(path, OLD)
    crash(files.replace_directory, path, NEW, Crashing(call, name))
    copies = [contents(found) for found in tmp_path.iterdir()]
    assert OLD in copies or NEW in copies
    crash(files.replace_directory, path, NEW, Crashing(1, "fsync"))  # a second one, before anything new is whole
    assert contents(path) in (OLD, NEW)
    files.replace_directory(path, NEW)
    assert contents(path) == NEW
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_copy_goes_only_when_the_new_name_is_on_the_disk(tmp_path, monkeypatch):
    path, seen, real = tmp_path / "last", [], os.fsync
    files.replace_directory(path, OLD)
    inodes = {}

    def watched(descriptor):
        inodes.setdefault(os.fstat(descriptor).st_ino, sorted(file.name for file in tmp_path.iterdir()))
        seen.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", watched)
    files.replace_directory(path, NEW)
    parent = tmp_path.stat().st_ino
    assert seen[-1] == parent
    assert inodes[parent] == [".last.old", "last"]


def test_a_file_is_old_or_new_after_a_crash(tmp_path):
    path = tmp_path / "summary.json"
    files.write(path, "old")
    crash(files.write, path, "new", Crashing(1, "replace"))
    assert path.read_text() == "old"
    files.write(path, "new")
    assert path.read_text() == "new"


def test_what_the_system_refuses_is_a_message_with_the_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match="file"):
        files.replace_directory(tmp_path / "file" / "last", NEW)


def test_numbers_that_json_has_not_are_null(tmp_path):
    value = {"loss": float("nan"), "scores": [1.5, float("inf"), {"r2": -float("inf")}], "split": ("a", None, True)}
    files.write_json(tmp_path / "a.json", value)

    def refuse(word):
        raise AssertionError(word)

    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert found == {"loss": None, "scores": [1.5, None, {"r2": None}], "split": ["a", None, True]}
