"""A checkpoint: all of the state can be read back from its files, to the bit."""

import json

import pytest
import torch
from safetensors.torch import load

from bptrain.config.component import components
from bptrain.config.compose import compose, settings_of
from bptrain.train.checkpoint import checkpoint
from bptrain.train.fit import fit
from bptrain.train.record import Stepped
from bptrain.train.run import build

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


def rebuilt(value, tensors):
    """Plain data with its tensors put back, and numbers as keys where JSON made them text."""
    if isinstance(value, dict):
        if value.keys() == {"tensor"}:
            return tensors[value["tensor"]]
        return {int(key) if key.isdigit() else key: rebuilt(item, tensors) for key, item in value.items()}
    return [rebuilt(item, tensors) for item in value] if isinstance(value, list) else value


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
