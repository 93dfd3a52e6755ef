"""What every malicious file must come to: one short message, exit 2, its canary untouched, nothing written."""

import json
import os
import shutil

import pytest

from bptrain.cli.main import main
from bptrain.runs.lock import config_hash

TINY = ["data=iris", "model.sizes=[3]", "fit.epochs=2", "name=tiny", "model.dropout=0.2", "check.enabled=false"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def tripped(tmp_path):
    """The folder that a canary makes when it is run."""
    return tmp_path / "tripped"


@pytest.fixture
def canary(tripped):
    """An object that a pickle makes into a call."""

    class Canary:
        def __reduce__(self):
            return os.mkdir, (str(tripped),)

    return Canary()


def everything(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and "outputs" not in path.parts}


@pytest.fixture
def refused(folder, tripped, capsys):
    """Runs a command line that must be refused with these words; what it said."""

    def refused(line, *said, code=2):
        before = everything(folder.parent)
        capsys.readouterr()
        assert main(list(line)) == code
        out, err = capsys.readouterr()
        for word in said:
            assert word in err
        lines = err.splitlines()
        assert 0 < len(lines) <= 6
        assert all(line.startswith("bptrain: ") and len(line) <= 420 and line.isprintable() for line in lines)
        assert "Traceback" not in err
        assert out.replace("\n", "").isprintable()
        assert not tripped.exists()
        assert everything(folder.parent) == before
        return err

    return refused


@pytest.fixture(scope="session")
def outputs(tmp_path_factory):
    """The outputs of one run."""
    folder, before = tmp_path_factory.mktemp("trained"), os.getcwd()
    os.chdir(folder)
    assert main(["-q", *TINY, "scheduler=cosine"]) == 0
    os.chdir(before)
    return folder / "outputs"


@pytest.fixture
def run(folder, outputs):
    """A run that has finished, as the user has it."""
    shutil.copytree(outputs, folder / "outputs")
    (run,) = folder.glob("outputs/tiny/*")
    return run.relative_to(folder)


@pytest.fixture
def change():
    """Gives a function that sets the value at a path of keys in a JSON file, which is then as it would be written."""

    def change(path, keys, value):
        whole = part = json.loads(path.read_text())
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        if path.name == "lock.json":  # as a stranger would
            whole["config_hash"] = config_hash(whole["config"])
        path.write_text(json.dumps(whole))

    return change
