"""Signals, races, stale locks, clocks that jump, data and memory that vanish: what is on disk stays whole."""

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import driver
import numpy as np
import pytest
from test_disks import train
from test_workers import train as train_streamed

from bptrain.errors import BptrainError, RunFailed
from bptrain.runs import directory
from bptrain.runs.directory import RunDirectory
from bptrain.sweep import job
from bptrain.train.checkpoint import read

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def some(few, many):
    return [pytest.param(few, id="some"), pytest.param(many, id="many", marks=pytest.mark.slow)]


def is_whole(path):
    read({file.name: file.read_bytes() for file in (path / "checkpoints" / "last").iterdir()})
    return True


@pytest.mark.parametrize("times", some(6, 100))
def test_a_signal_at_any_time_ends_a_run_that_goes_on_to_the_same_end(folder, start, times):
    draw, words = random.Random(times), [*driver.KINDS["mlp"], "name=tiny", "fit.checkpoint.every=20"]
    whole = start("command", words, folder)
    whole.join()
    (expected,) = (folder / "outputs" / "tiny").iterdir()
    came = 0
    for number in range(times):
        (folder / str(number)).mkdir()
        process = start("command", words, folder / str(number))
        process.join(draw.uniform(0.02, 0.3))
        os.kill(process.pid, SIGNALS[number % 3])
        process.join(5)
        made = list((folder / str(number)).glob("outputs/tiny/*/lock.json"))
        assert process.exitcode in (130, 0) or not made, (number, process.exitcode)
        if not made:
            continue
        came += process.exitcode == 130
        after = start("command", ["resume", str(made[0].parent)], folder)
        after.join()
        assert after.exitcode == 0, (folder / "err").read_text()
        assert driver.left(made[0].parent) == driver.left(expected), number
    assert came > times // 6


def test_a_hangup_that_was_ignored_stays_ignored(folder, start):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if pid := os.fork():
        signal.signal(signal.SIGHUP, before)
        for _ in range(50):
            os.kill(pid, signal.SIGHUP)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    else:
        os._exit(0 if train(folder / "run") is None else 1)


@pytest.mark.parametrize("races", some(3, 50))
def test_of_two_processes_that_race_for_a_run_one_gets_it(folder, start, races):
    for _ in range(races):
        both = [start("holds", folder, 0.3) for _ in range(2)]
        for process in both:
            process.join()
        assert sorted(process.exitcode for process in both) == [0, 7]


def test_the_lock_of_a_dead_process_is_taken_over_whoever_has_its_number_now(folder, start):
    process = start("holds", folder, 60)
    while not (folder / ".lock").exists() or not (folder / ".lock").read_text():
        pass
    with pytest.raises(RunFailed, match=f"process {process.pid}"), RunDirectory(folder).held():
        pass
    process.kill()
    process.join()
    (folder / ".lock").write_text(f"process {os.getppid()}\n")  # which lives, and holds nothing
    with RunDirectory(folder).held():
        assert (folder / ".lock").read_text() == f"process {os.getpid()}\n"


def test_runs_that_start_in_the_same_second_get_directories_of_their_own(folder):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: RunDirectory.create("tiny").path, range(40)))
    assert len(set(made)) == 40


def test_a_clock_that_jumps_changes_names_alone(folder, monkeypatch):
    hours = random.Random(3)

    class Jumping(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=hours.choice((-48, 0, 0, 7000)))

    assert train(folder / "whole") is None
    monkeypatch.setattr(directory, "datetime", Jumping)
    made = [RunDirectory.create("tiny").path for _ in range(12)]
    assert len(set(made)) == 12
    assert train(made[0] / "run") is None
    assert driver.left(made[0] / "run") == driver.left(folder / "whole")


@pytest.mark.parametrize("change", ["is cut short", "is gone", "is a folder"])
def test_data_that_changes_while_it_is_read_ends_the_run_which_goes_on_once_it_is_back(folder, change):
    draw = np.random.default_rng(3)
    np.save("x.npy", draw.normal(size=(61, 4)).astype(np.float32))
    np.save("y.npy", draw.integers(0, 3, 61))
    train_streamed(folder / "whole", 0)
    content = (folder / "x.npy").read_bytes()
    train_streamed(folder / "run", 1, steps=8)
    assert is_whole(folder / "run")
    if change == "is cut short":
        (folder / "x.npy").write_bytes(content[:300])
    else:
        (folder / "x.npy").unlink()
        if change == "is a folder":
            (folder / "x.npy").mkdir()
    with pytest.raises(BptrainError, match=r"x\.npy"):
        job.resume(RunDirectory(folder / "run"), quiet=True)
    assert is_whole(folder / "run")
    if change == "is a folder":
        (folder / "x.npy").rmdir()
    (folder / "x.npy").write_bytes(content)
    job.resume(RunDirectory(folder / "run"), quiet=True)
    assert driver.left(folder / "run") == driver.left(folder / "whole")


def test_data_that_is_cut_short_while_it_trains_is_named(folder):
    draw = np.random.default_rng(3)
    np.save("x.npy", draw.normal(size=(61, 4)).astype(np.float32))
    np.save("y.npy", draw.integers(0, 3, 61))
    train_streamed(folder / "whole", 0)
    content = (folder / "x.npy").read_bytes()
    with pytest.raises(BptrainError, match=r"x\.npy"):
        train_streamed(folder / "run", 0, steps=8, then=lambda: os.truncate("x.npy", 300))
    assert is_whole(folder / "run")
    (folder / "x.npy").write_bytes(content)
    job.resume(RunDirectory(folder / "run"), quiet=True)
    assert driver.left(folder / "run") == driver.left(folder / "whole")


def test_a_run_without_memory_fails_and_leaves_its_last_checkpoint(folder, start):
    words = ["data=digits", "model.sizes=[900,900]", "name=tiny", "fit.checkpoint.every=2", "check.enabled=false"]
    process = start("starved", [*words, "fit.epochs=4", "fit.batch_size=256"], folder)
    process.join()
    (path,) = (folder / "outputs" / "tiny").iterdir()
    assert process.exitcode in (1, -signal.SIGABRT), process.exitcode  # safetensors aborts
    assert process.exitcode < 0 or "out of memory" in (folder / "err").read_text()
    assert is_whole(path)
    after = start("command", ["resume", str(path)], folder)
    after.join()
    assert after.exitcode == 0
    whole = start("command", [*words, "fit.epochs=4", "fit.batch_size=256", "name=whole"], folder)
    whole.join()
    (expected,) = (folder / "outputs" / "whole").iterdir()
    assert driver.left(path) == driver.left(expected)
