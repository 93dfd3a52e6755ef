"""Bits that flip, files that are cut short and blocks that are zeroed: each is found, or changes nothing."""

import json
import random
import shutil

import driver
import pytest
from disks import Crash, Crashing
from test_disks import train

from bptrain import files
from bptrain.errors import RequestError, RunFailed
from bptrain.runs.directory import RunDirectory
from bptrain.runs.lock import FACTS, changes, read_lock
from bptrain.train.checkpoint import Damaged, read

# What a lock says for people alone, or what counts only where an engine was chosen by measuring.
TOLD = {"git", "machine", "versions", "overrides", "seed", "engine", "code", "created"}


def flipped(data, draw):
    bit = draw.randrange(8 * len(data))
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def cut(data, draw):
    return data[: draw.randrange(len(data))]


def zeroed(data, draw):
    start = draw.randrange(len(data))
    end = min(len(data), start + draw.choice((1, 16, 512, 4096)))
    return data[:start] + bytes(end - start) + data[end:]


@pytest.fixture
def ended(folder):
    """A run that a crash has ended, with a checkpoint and the one before it."""
    path, at, left = folder / "run", 100, set()
    while left != {"last", ".last.old", "best"}:
        at += 1
        shutil.rmtree(path, ignore_errors=True)
        with pytest.raises(Crash):
            train(path, Crashing(at))
        left = {child.name for child in (path / "checkpoints").iterdir()}
    return path


def is_harmless(name, path, before, data):
    """Whether a change of a file is noticed where it is read, or is of what is not read."""
    if name.startswith("checkpoints/"):
        folder = (path / name).parent
        contents = {file.name: file.read_bytes() for file in folder.iterdir()} | {(path / name).name: data}
        try:
            found = read(contents)
        except Damaged:
            return True
        return json.loads(contents["state.json"]) == json.loads(before) and found is not None
    (path / name).write_bytes(data)
    try:
        if name == "lock.json":
            lock, old = read_lock(RunDirectory(path)), json.loads(before)
            other = {key for key in old if lock.get(key) != old[key]}
            return bool(changes(old, lock)) or other <= TOLD
        if name == "metrics.jsonl":
            state = json.loads((path / "checkpoints" / "last" / "state.json").read_bytes())["progress"]
            files.Lines(path / name, state["metrics"], state["digest"]).close()
            return data[: state["metrics"]] == before[: state["metrics"]]
    except (RequestError, RunFailed):
        return True
    finally:
        (path / name).write_bytes(before)
    return None  # no input of `resume`: see below


@pytest.mark.parametrize(
    ("flips", "others"), [pytest.param(40, 8, id="some"), pytest.param(800, 80, id="many", marks=pytest.mark.slow)]
)
def test_damage_to_any_file_of_a_run_is_found_or_harmless(ended, flips, others):
    assert set(FACTS) >= {"torch", "threads", "data"}
    draw, made, unread = random.Random(5), 0, set()
    names = [str(file.relative_to(ended)) for file in sorted(ended.rglob("*")) if file.is_file()]
    assert len(names) >= 14
    for name in names:
        before = (ended / name).read_bytes()
        for change, times in ((flipped, flips), (cut, others), (zeroed, others)):
            for _ in range(times if before else 0):
                data = change(before, draw)
                if data != before:
                    harmless = is_harmless(name, ended, before, data)
                    assert harmless is not False, (name, change, set(data.split()) ^ set(before.split()))
                    made += 1
                    unread |= {name} if harmless is None else set()
    assert made > len(names) * flips
    assert not [name for name in unread if name.startswith("checkpoints") or name in ("lock.json", "metrics.jsonl")]
    expected = ended.parent / "whole"
    assert train(expected) is None
    for name in unread:
        shutil.copytree(ended, ended.parent / "again")
        (ended.parent / "again" / name).write_bytes(flipped((ended / name).read_bytes() or b"\0", draw))
        assert train(ended.parent / "again") is None
        assert driver.left(ended.parent / "again") == driver.left(expected), name
        shutil.rmtree(ended.parent / "again")


def test_the_checkpoint_before_a_damaged_one_is_used(ended):
    draw = random.Random(7)
    assert train(ended.parent / "whole") is None
    for name in ("model.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"):
        shutil.copytree(ended, ended.parent / "again")
        file = ended.parent / "again" / "checkpoints" / "last" / name
        file.write_bytes(flipped(file.read_bytes(), draw))
        assert train(ended.parent / "again") is None
        assert "damaged" in (ended.parent / "again" / "train.log").read_text()
        assert driver.left(ended.parent / "again") == driver.left(ended.parent / "whole")
        shutil.rmtree(ended.parent / "again")
