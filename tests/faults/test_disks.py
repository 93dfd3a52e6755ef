"""A disk that fails at any operation: one message, the last checkpoint whole, and the same end once it works again."""

import errno
import os
import shutil
import signal

import driver
import pytest
from disks import Failing, Full, Short

from bptrain import files
from bptrain.config.compose import compose, settings_of
from bptrain.errors import RunFailed
from bptrain.runs.directory import RunDirectory
from bptrain.sweep import job
from bptrain.train.checkpoint import read
from bptrain.train.run import build

CODES = [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.EACCES, errno.EROFS]
OLD = {".last.old", ".best.old"}  # the one before the last stays, the one before the best until the next is on the disk
WORDS = [*driver.IRIS[:-2], "fit.epochs=2", "name=tiny", "fit.checkpoint.every=5", "model.dropout=0.2"]


def train(path, disk=None):
    """Trains a run, or goes on with it; the error that ends it, if one does."""
    with pytest.MonkeyPatch.context() as patch:
        if disk is not None:
            patch.setattr(files, "disk", disk)
        try:
            if (path / "lock.json").exists():
                job.resume(RunDirectory(path), quiet=True)
            else:
                config = compose(WORDS)
                job.train(build(settings_of(config)), config, path, quiet=True)
        except RunFailed as error:
            return error
    return None


@pytest.fixture
def whole(folder):
    disk = Failing(0, 0)
    assert train(folder / "whole", disk) is None
    return driver.left(folder / "whole"), disk.count


def hidden(path):
    return [child.name for child in path.rglob(".*") if child.name not in (".lock", ".hydra")]


def last_is_whole(path):
    """The last checkpoint, or the one before it where that is not in place, if there was one."""
    for copy in list(filter(files.whole, files.copies(path / "checkpoints" / "last")))[:1]:
        read({file.name: file.read_bytes() for file in copy.iterdir()})


def fails(folder, expected, disk):
    """A run on that disk fails in one message, keeps a whole checkpoint, and ends as if it had not once all is well."""
    path = folder / "run"
    shutil.rmtree(path, ignore_errors=True)
    error = train(path, disk)
    if error is None:  # the old copy could not be removed, which loses nothing
        assert driver.left(path) == expected, disk.__dict__
        assert set(hidden(path)) <= OLD
        return
    assert disk.failed
    assert str(error).count("\n") == 0
    assert str(path) in str(error)
    last_is_whole(path)
    if not disk.for_ever:
        assert set(hidden(path)) <= OLD, (hidden(path), disk.__dict__)
    assert train(path) is None
    assert driver.left(path) == expected, disk.__dict__
    assert set(hidden(path)) <= OLD, (hidden(path), disk.__dict__)


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_a_run_survives_a_full_disk_at_some_operations(folder, whole, for_ever):
    expected, count = whole
    assert count > 60
    for at in range(1 + for_ever, count + 1, 17):
        fails(folder, expected, Failing(at, errno.ENOSPC, for_ever))


@pytest.mark.slow
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_run_survives_each_error_at_each_operation(folder, whole, code, for_ever):
    expected, count = whole
    for at in range(1, count + 1):
        fails(folder, expected, Failing(at, code, for_ever))


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("every", [pytest.param(9, id="some"), pytest.param(1, id="each", marks=pytest.mark.slow)])
def test_a_run_survives_a_sync_that_fails(folder, whole, every, for_ever):
    expected, _ = whole
    at, failed = 1 - every, True
    while failed:
        at += every
        disk = Failing(at, errno.EIO, for_ever, ("fsync",))
        fails(folder, expected, disk)
        failed = disk.failed
    assert at > 20


@pytest.mark.parametrize("step", [pytest.param(997, id="some"), pytest.param(173, id="many", marks=pytest.mark.slow)])
def test_a_disk_that_fills_leaves_the_last_checkpoint(folder, whole, step):
    expected, _ = whole
    size = sum(file.stat().st_size for file in (folder / "whole").rglob("*") if file.is_file())
    for room in range(0, 3 * size, step * 11):
        disk = Full(room)
        disk.for_ever = True
        path = folder / "run"
        shutil.rmtree(path, ignore_errors=True)
        error = train(path, disk)
        assert error is None or "No space left" in str(error)
        last_is_whole(path)
        assert train(path) is None or error is None
        assert driver.left(path) == expected
        assert set(hidden(path)) <= OLD


def test_writes_that_are_short_or_interrupted_are_made_whole(folder, whole):
    assert train(folder / "run", Short()) is None
    assert driver.left(folder / "run") == whole[0]
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    if pid := os.fork():
        assert train(folder / "other") is None
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    else:
        while True:
            os.kill(os.getppid(), signal.SIGUSR1)
            for _ in range(3000):
                pass
    signal.signal(signal.SIGUSR1, before)
    assert driver.left(folder / "other") == whole[0]
