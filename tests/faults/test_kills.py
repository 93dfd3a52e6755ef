"""SIGKILL at any time: the run that goes on ends as the one that was never killed, to the bit."""

import os
import signal

import driver
import pytest

NUMBERS = [
    pytest.param("mlp", 8, id="a few"),
    *(pytest.param(k, 150, marks=pytest.mark.slow, id=k) for k in driver.KINDS),
]


@pytest.mark.parametrize(("kind", "kills"), NUMBERS)
def test_a_run_that_is_killed_at_random_times_ends_as_one_that_was_not(folder, start, kind, kills):
    whole = start("train", kind, folder / "whole")
    whole.join()
    assert whole.exitcode == 0
    expected, made, number, waits = driver.left(folder / "whole"), 0, 0, driver.waits(kills)
    while made < kills:
        number += 1
        path = folder / str(number)
        for _ in range(100):
            process = start("train", kind, path)
            process.join(next(waits))
            if process.exitcode is None:
                process.kill()
                process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            made += 1
        else:
            pytest.fail("it makes no progress")
        assert driver.left(path) == expected, f"run {number}, after {made} kills"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_run_that_is_killed_at_each_change_of_its_files_ends_as_one_that_was_not(folder, start, kind):
    whole = start("train", kind, folder / "whole")
    whole.join()
    expected, operation = driver.left(folder / "whole"), 0
    while True:
        operation += 1
        path = folder / str(operation)
        process = start("train_until", kind, path, operation)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        after = start("train", kind, path)
        after.join()
        assert after.exitcode == 0, f"operation {operation}"
        assert driver.left(path) == expected, f"operation {operation}"
        assert {name for name in os.listdir(path / "checkpoints") if name.startswith(".")} <= {".last.old"}
    assert operation > 60
