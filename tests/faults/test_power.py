"""The power goes: of what was not synced some is there, some is not, some is torn. A whole checkpoint always is."""

import random
import shutil

import driver
import pytest
from disks import Full, Journal, after_power_cut
from test_disks import train

from bptrain.runs.directory import RunDirectory
from bptrain.sweep import job
from bptrain.train.checkpoint import Damaged, read


def is_whole(held, name):
    """Whether a directory of what a disk holds is a checkpoint as it was written."""
    inside = {path: data for path, data in held.items() if path.startswith(name) and data is not None}
    try:
        read({path.removeprefix(name): data for path, data in inside.items()})
    except Damaged:
        return False
    return True


@pytest.mark.parametrize(
    ("cuts", "resumed"), [pytest.param(60, 8, id="some"), pytest.param(1000, 100, id="many", marks=pytest.mark.slow)]
)
def test_after_a_power_cut_the_old_checkpoint_or_the_new_one_is_whole(folder, cuts, resumed):
    disk = Journal()
    assert train(folder / "run", disk) is None
    expected, log, draw = driver.left(folder / "run"), disk.log, random.Random(cuts)
    last = str(folder / "run" / "checkpoints" / "last")
    ready = next(i for i, entry in enumerate(log) if entry[0] == "rename" and entry[2] == last)
    ready += next(i for i, entry in enumerate(log[ready:]) if entry == ("sync", str(folder / "run" / "checkpoints")))
    assert len(log) > 150
    for cut in range(cuts):
        moment = draw.randrange(1, len(log) + 1)
        held = after_power_cut(log[:moment], str(folder), cut)
        found = [is_whole(held, f"run/checkpoints/{name}/") for name in ("last", ".last.new", ".last.old")]
        assert any(found) or moment <= ready, (cut, moment, sorted(held))
        if cut % (cuts // resumed):
            continue
        shutil.rmtree(folder / "run")
        for path, data in held.items():
            place = folder / path
            (place if data is None else place.parent).mkdir(parents=True, exist_ok=True)
            if data is not None:
                place.write_bytes(data)
        assert train(folder / "run") is None, (cut, moment)
        assert driver.left(folder / "run") == expected, (cut, moment)


def test_a_checkpoint_that_is_not_synced_is_found_out(folder):
    """The test above can fail: without syncing there are moments at which neither is whole."""

    class Lazy(Journal):
        def fsync(self, descriptor):
            pass

    disk = Lazy()
    assert train(folder / "run", disk) is None
    lost = 0
    for cut in range(40):
        held = after_power_cut(disk.log, str(folder), cut)
        lost += not any(is_whole(held, f"run/checkpoints/{name}/") for name in ("last", ".last.new", ".last.old"))
    assert lost > 10


def test_a_run_directory_that_moves_and_is_resumed_from_elsewhere_goes_on(folder, monkeypatch):
    assert train(folder / "whole") is None
    assert train(folder / "run", Full(60000)) is not None
    (folder / "else" / "where").mkdir(parents=True)
    shutil.move(folder / "run", folder / "else" / "moved")
    monkeypatch.chdir(folder / "else" / "where")
    job.resume(RunDirectory(folder / "else" / "moved"), quiet=True)
    assert driver.left(folder / "else" / "moved") == driver.left(folder / "whole")
