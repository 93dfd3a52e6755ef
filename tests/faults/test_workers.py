"""A run that reads its data while it trains goes on to the same bits, whatever the number of threads that read."""

import driver
import numpy as np
import pytest

from bptrain.config.compose import compose, settings_of
from bptrain.runs.directory import RunDirectory
from bptrain.sweep import job
from bptrain.train.fit import fit
from bptrain.train.run import build


def words(workers):
    data = ["data=npy", "data.path=x.npy", "data.target=y.npy", "data.in_memory=false", f"data.workers={workers}"]
    network = ["name=tiny", "model.sizes=[5]", "model.dropout=0.2"]
    return [*data, *network, "fit.batch_size=8", "fit.epochs=3", "fit.checkpoint.every=6"]


def train(path, workers, steps=None, then=None):
    """Trains a run; after so many steps it is cut off, or `then` is called."""
    config = compose([*words(workers), "check.enabled=false"])
    run = build(settings_of(config))
    records = job.job(run, config, fit(run), path, quiet=True)
    for _ in records:
        if run.state.step == steps and then is None:
            records.close()
            return
        if run.state.step == steps:
            then()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_run_that_reads_while_it_trains_goes_on_to_the_bit(folder, workers):
    draw = np.random.default_rng(3)
    np.save("x.npy", draw.normal(size=(61, 4)).astype(np.float32))
    np.save("y.npy", draw.integers(0, 3, 61))
    train(folder / "whole", 0)
    expected = driver.left(folder / "whole")
    for steps in (3, 8):
        path = folder / f"cut{steps}"
        train(path, workers, steps)
        other = (workers + 1) % 3
        allowed = [f"data.workers={other}", "resume.allow=data.workers"]
        job.resume(RunDirectory(path), allowed if steps == 8 else [], quiet=True)
        assert driver.left(path) == expected
