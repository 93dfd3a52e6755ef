"""`python -m bptrain.data.fetch` takes what was named out of archives, and nothing from one that has changed."""

import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile
import zipfile

import pytest

from bptrain.data.fetch import SOURCES, Source, _archive, _members


def tar(files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def zipped(files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


@pytest.mark.parametrize("packed", [tar, zipped])
def test_only_what_is_wanted_is_taken_by_the_last_part_of_its_name(packed):
    archive = packed({"package/data/a.csv": b"1,2", "package/setup.py": b"import os", "../../evil.csv": b"3"})
    assert dict(_members(archive, ("package/data/*.csv",), "")) == {"a.csv": b"1,2"}
    assert dict(_members(archive, ("*.csv",), "")).keys() == {"a.csv", "evil.csv"}  # names, never paths


def test_files_are_found_in_an_archive_within_an_archive():
    archive = tar({"p/inner.tar.gz": tar({"deep/truth.txt": b"yes"}), "p/other.txt": b"no"})
    assert dict(_members(archive, ("*.txt",), "*/inner.tar.gz")) == {"truth.txt": b"yes"}


def test_a_pattern_that_finds_nothing_is_told():
    with pytest.raises(ValueError, match=r"no \*\.ts"):
        dict(_members(zipped({"a.csv": b""}), ("*.csv", "*.ts"), ""))


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm that packs a file of ours, whatever it is asked for."""
    content = tar({"package/data": b"numbers"})
    (tmp_path / "package.tgz").write_bytes(content)
    program = tmp_path / "npm"
    program.write_text(f'#!/bin/sh\ncp {tmp_path / "package.tgz"} "$4"\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return content


def test_an_archive_that_is_another_one_than_it_was_is_refused(npm):
    right = Source("x", "x@1.0.0", hashlib.sha256(npm).hexdigest(), "MIT", ("*",), ())
    assert _archive(right) == npm
    with pytest.raises(ValueError, match="SHA-256"):
        _archive(Source("x", "x@1.0.0", "0" * 64, "MIT", ("*",), ()))


def test_what_is_there_stays_and_what_cannot_be_had_is_named_with_exit_2(tmp_path):
    there, missing = SOURCES[1:], SOURCES[0]
    for source in there:
        (tmp_path / source.folder).mkdir()
    environment = {**os.environ, "PATH": str(tmp_path)}  # no npm
    command = [sys.executable, "-m", "bptrain.data.fetch", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{missing.package}: can't be had")
    assert "Traceback" not in done.stderr
    assert all(not any((tmp_path / source.folder).iterdir()) for source in there)
