"""A checkpoint: all of the state can be read back from its files, to the bit."""

import json
import random

import pytest
import torch
from safetensors.torch import load

from bptrain.config.component import components
from bptrain.config.compose import compose, settings_of
from bptrain.train.checkpoint import Checkpoint, Damaged, read, write
from bptrain.train.fit import fit
from bptrain.train.record import Stepped
from bptrain.train.run import build
from bptrain.train.state import rebuilt

OPTIMIZERS = {
    "delta": [],
    "sgd": ["optimizer.momentum=0.9"],
    "gd": [],
    "rmsprop": ["optimizer.momentum=0.5", "optimizer.centered=true"],
    "adagrad": [],
    "adam": [],
    "adamw": [],
    "lbfgs": ["optimizer.line_search_fn=strong_wolfe"],
    "adadelta": [],
    "adafactor": [],
    "adamax": [],
    "asgd": ["optimizer.t0=1"],
    "muon": [],
    "nadam": [],
    "radam": ["optimizer.betas=[0.9,0.7]"],
    "rprop": [],
    "bfgs": ["scheduler=constant"],
    "cg": ["scheduler=constant"],
}


def fresh(name):
    words = ["data=iris", "model.sizes=[5]", "model.dropout=0.2", "model.norm=batch", "fit.epochs=4"]
    return build(settings_of(compose([*words, f"optimizer={name}", "scheduler=cosine", *OPTIMIZERS[name]])))


def checkpoint(snapshot, best=None):
    return write(Checkpoint(snapshot, best or {}))


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def after_steps(run, count):
    for record in fit(run):
        count -= isinstance(record, Stepped)
        if count == 0:
            return


def test_every_optimizer_is_tried():
    assert OPTIMIZERS.keys() == components("optimizer").keys()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_checkpoint_read_back_is_the_state_and_goes_on_as_it_would(name):
    run = fresh(name)
    after_steps(run, 3)
    files = checkpoint(run.state.snapshot())
    state, tensors = json.loads(files["state.json"]), load(files["optimizer.safetensors"])
    optimizer, model = rebuilt(state["optimizer"], tensors), load(files["model.safetensors"])
    assert same(run.state.optimizer.state_dict(), optimizer)
    assert same(dict(run.state.model.state_dict()), model)
    assert same(run.state.schedule.state_dict(), state["scheduler"])
    assert state["step"] == 3
    generator = torch.frombuffer(bytearray.fromhex(state["generators"]["torch"]), dtype=torch.uint8)
    assert torch.equal(generator, torch.get_rng_state())

    batch = [torch.arange(7)]
    run.engine.step(batch)
    other = fresh(name)
    other.state.model.load_state_dict(model)
    other.state.optimizer.load_state_dict(optimizer)
    torch.set_rng_state(generator)
    other.engine.step(batch)
    assert same(dict(run.state.model.state_dict()), dict(other.state.model.state_dict()))
    assert same(run.state.optimizer.state_dict()["state"], other.state.optimizer.state_dict()["state"])


def test_the_best_state_stays_as_it_was_while_training_goes_on():
    run = fresh("adam")
    after_steps(run, 5)
    before = checkpoint(run.state.best)
    for _ in range(3):
        run.engine.step([torch.arange(9)])
    assert checkpoint(run.state.best) == before
    assert json.loads(before["state.json"])["epoch"] == 1


def test_what_is_read_back_is_the_snapshot():
    run = fresh("lbfgs")
    after_steps(run, 3)
    snapshot = run.state.snapshot()
    made = read(checkpoint(snapshot, {"w": torch.ones(3)}))
    found = made.snapshot
    assert same(made.best, {"w": torch.ones(3)})
    assert same(found.model, snapshot.model)
    assert same(found.optimizer, snapshot.optimizer)
    assert same(found.generators, snapshot.generators)
    assert found.rest == json.loads(json.dumps(snapshot.rest))


def test_any_bit_that_has_changed_is_noticed_and_the_file_named():
    run, draw = fresh("adam"), random.Random(0)
    after_steps(run, 1)
    files = checkpoint(run.state.snapshot(), run.state.model.state_dict())
    for _ in range(500):
        name = draw.choice(list(files))
        damaged, bit = bytearray(files[name]), draw.randrange(8 * len(files[name]))
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged, match=name):
            read(files | {name: bytes(damaged)})


def test_a_file_that_is_cut_short_missing_or_anothers_is_noticed():
    run = fresh("adam")
    after_steps(run, 1)
    before = checkpoint(run.state.snapshot())
    run.engine.step([torch.arange(9)])
    files = checkpoint(run.state.snapshot(), run.state.model.state_dict())
    for name in files:
        for length in (0, 1, 7, 8, 9, len(files[name]) // 2, len(files[name]) - 1):
            with pytest.raises(Damaged, match=name):
                read(files | {name: files[name][:length]})
        with pytest.raises(Damaged, match=name):
            read({other: data for other, data in files.items() if other != name})
    with pytest.raises(Damaged, match=r"model.safetensors has changed since it was written: .*weight"):
        read(files | {"model.safetensors": before["model.safetensors"]})
