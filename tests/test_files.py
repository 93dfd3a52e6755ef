"""Files: what stands on disk when a write is cut off at any of its steps."""

import json
import os

import pytest

from bptrain import files
from bptrain.errors import RunFailed

OLD, NEW = {"a": b"old a", "b": b"old b"}, {"a": b"new a", "c": b"new c"}


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


class Crash(BaseException):
    """The end of the process: nothing that is written after it happens."""


def crash_at(monkeypatch, name, call):
    """The `call`-th os.<name> in files does not happen, and ends the process."""
    calls, real = [], getattr(os, name)

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise Crash
        return real(*arguments)

    monkeypatch.setattr(files.os, name, counted)


CRASHES = [*(("rename", call) for call in (1, 2)), *(("fsync", call) for call in range(1, 5))]


@pytest.mark.parametrize(("name", "call"), CRASHES)
def test_a_whole_copy_survives_a_crash_at_any_step_and_the_next_call_goes_through(tmp_path, name, call):
    path = tmp_path / "last"
    files.replace_directory(path, OLD)
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, name, call)
        with pytest.raises(Crash):
            files.replace_directory(path, NEW)
    copies = [contents(found) for found in tmp_path.iterdir()]
    assert OLD in copies or NEW in copies
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, "fsync", 1)  # a second crash, before anything new is whole
        with pytest.raises(Crash):
            files.replace_directory(path, NEW)
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
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, "replace", 1)
        with pytest.raises(Crash):
            files.write(path, "new")
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
