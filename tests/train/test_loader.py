"""Training on data that is read while it trains: the bits of the same data in memory, whatever the workers."""

import gc
import os
import signal
import threading

import numpy as np
import pytest
import torch

from bptrain import interrupts
from bptrain.config.compose import compose, settings_of
from bptrain.errors import RunFailed
from bptrain.train.compiled import Compiled
from bptrain.train.fit import fit, steps_of
from bptrain.train.loader import read_ahead
from bptrain.train.program import Untraceable
from bptrain.train.record import Checked, Chosen, Evaluated, Finished, Stepped
from bptrain.train.run import build

RANDOM = np.random.default_rng(0)


@pytest.fixture
def run_of(tmp_path):
    """A run on 75 rows of 150, in batches of 16, so that the last of the 5 steps of an epoch has 11."""
    np.save(tmp_path / "x.npy", RANDOM.normal(size=(150, 2, 4)))
    np.save(tmp_path / "y.npy", RANDOM.integers(0, 3, 150))
    where = [f"data.path={tmp_path / 'x.npy'}", f"data.target={tmp_path / 'y.npy'}"]
    few = ["fit.epochs=2", "fit.batch_size=16", "data.split.validation=0.3"]

    def run_of(*words):
        small = ["model.sizes=[5]"] if "model=gp" not in words else []
        return build(settings_of(compose(["data=npy", *where, *small, *few, *words])))

    return run_of


def reading():
    return [thread for thread in threading.enumerate() if thread.name.startswith("bptrain-data")]


def told(record):
    match record:
        case Checked():
            return record.report.verdict, record.rows, record.loss.item()
        case Stepped():
            return record.epoch, record.step, record.rows, record.loss.item(), record.lr
        case Chosen():
            return record.engine
        case Evaluated() | Finished():
            return record


OPTIONS = {
    "as it is": [],
    "accumulated": ["fit.accumulate=3"],
    "without the last batch": ["fit.drop_last=true"],
    "with dropout and batch norm": ["model.dropout=0.3", "model.norm=batch"],
    "a CNN in bf16": ["model=cnn", "model.channels=[4]", "precision=bf16", "model.sizes=[]"],
    "in float64": ["precision=fp64"],
    "by L-BFGS": ["optimizer=lbfgs"],
    "checked each step": ["check.every=1", "fit.epochs=1"],
}


@pytest.mark.parametrize("option", OPTIONS)
def test_records_and_weights_are_those_of_data_in_memory_whatever_the_workers(run_of, option):
    def trained(*words):
        run = run_of(*OPTIONS[option], *words)
        return [told(record) for record in fit(run)], run.state.model.state_dict()

    records, weights = trained("data.in_memory=true")
    assert len(records) > 4
    for workers in (0, 1, 3):
        others, theirs = trained(f"data.workers={workers}")
        assert others == records
        assert all(torch.equal(weights[name], theirs[name]) for name in weights)
    assert not reading()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_read_ahead_is_bounded_and_is_what_the_steps_need(run_of, workers, accumulate):
    run = run_of(f"data.workers={workers}", "fit.batch_size=2", f"fit.accumulate={accumulate}")
    inputs, steps = run.dataset.parts["train"].inputs, steps_of(run, 0)
    most = 2 * workers + accumulate
    for step in read_ahead(inputs, steps):
        assert {id(batch) for batch in step} <= set(inputs.ready)
        assert len(inputs.ready) <= most
        assert len(reading()) <= workers
        for batch in step:
            read = inputs.ready[id(batch)].result()
            assert inputs.index_select(0, batch) is read
            assert torch.equal(read, inputs.read(batch))
    assert not inputs.ready


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_is_cut_short_fails_in_one_message_and_no_thread_is_left(run_of, tmp_path, workers):
    run = run_of(f"data.workers={workers}", "fit.epochs=50")
    records = fit(run)
    assert any(isinstance(record, Stepped) for record in records)  # the first
    os.truncate(tmp_path / "x.npy", 200)
    with pytest.raises(RunFailed, match=r"x.npy: ends at byte \d+ now: it was cut short"):
        list(records)
    del records
    gc.collect()
    assert not reading()


def test_threads_end_when_training_is_broken_off(run_of):
    run = run_of("data.workers=3")
    records = fit(run)
    assert any(isinstance(record, Stepped) for record in records)  # the first
    assert reading()
    assert run.dataset.parts["train"].inputs.ready
    records.close()
    assert not reading()
    assert not run.dataset.parts["train"].inputs.ready  # a batch of another epoch may get the id of one of these


def test_what_needs_all_rows_in_a_program_is_left_to_the_eager_engine(run_of):
    run = run_of("fit.engine=compiled")
    chosen = [record for record in fit(run) if isinstance(record, Chosen)]
    assert [(record.engine, "data.in_memory=true" in record.why) for record in chosen] == [("eager", True)]
    run = run_of()
    with pytest.raises(Untraceable, match="its data is not in memory"):
        Compiled(run.engine, steps_of(run, 0)[0])


def test_full_batches_and_a_gaussian_process_get_all_rows(run_of, tmp_path):
    np.save(tmp_path / "y.npy", RANDOM.normal(size=150))
    for words in (["optimizer=bfgs", "loss=mse", "model.sizes=[2]"], ["model=gp", "loss=marginal_likelihood"]):
        runs = [run_of(*words, f"data.in_memory={flag}", "fit.epochs=1") for flag in ("true", "false")]
        assert [told(record) for record in fit(runs[0])] == [told(record) for record in fit(runs[1])]


def test_an_interrupt_ends_it_with_the_threads(run_of):
    records = fit(run_of("data.workers=3", "fit.epochs=100000", "check.enabled=false"))
    next(records)
    assert reading()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    def train():
        for _ in records:  # raised here: in a callback of the threads' pool Python would ignore it
            interrupts.due()

    with pytest.raises(KeyboardInterrupt), interrupts.handled(), interrupts.awaited():
        train()
    records.close()
    gc.collect()
    assert not reading()
