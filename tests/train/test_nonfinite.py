"""NaN and infinities: the step is found, the call and the rows; weights stay as they were before it."""

import math

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

from bptrain.config.compose import compose, settings_of
from bptrain.errors import RunFailed
from bptrain.train import guard
from bptrain.train.fit import fit, steps_of
from bptrain.train.record import Evaluated, NonFinite, Stepped
from bptrain.train.run import build
from bptrain.train.state import Snapshot

SHORT = ["fit.epochs=3", "check.enabled=false"]
DIGITS = ["data=digits", "fit.batch_size=250", *SHORT]
NETWORKS = {
    "mlp": ["data=iris", "model.sizes=[5,4]", "fit.batch_size=16", *SHORT],
    "regression": ["data=diabetes", "loss=mse", "model.sizes=[4]", "fit.batch_size=64", "optimizer=sgd", *SHORT],
    "cnn": [*DIGITS, "model=cnn", "model.channels=[2]", "model.norm=batch"],
    "lstm": [*DIGITS, "model=lstm", "model.hidden=4"],
    "transformer": [*DIGITS, "model=transformer", "model.width=8", "model.heads=2", "model.layers=1"],
}


SMALL = ("mlp", "regression", "lstm")
INJECTIONS = {"mlp": 99, "regression": 81, "lstm": 70, "cnn": 20, "transformer": 20}


def built(name, *overrides):
    return build(settings_of(compose([*NETWORKS[name], *overrides])))


def layers(run):
    """Every module that has weights of its own and is called."""
    called = []
    for name, module in run.state.model.named_modules():
        if any(p.numel() for p in module.parameters(recurse=False)):
            module.register_forward_pre_hook(lambda module, args, name=name: called.append(name))
    run.engine.step(steps_of(run, 0)[0])
    return called


def plant(run, kind, where, value, step, row=3):
    """Has the step after `step` others meet a value; returns the step at which it should be found, counted from 1."""
    part, state = run.dataset.parts["train"], run.state
    if kind in ("input", "target"):
        tensor = part.inputs if kind == "input" else part.targets
        tensor[row].view(-1)[0] = value
        return next(i for i, (batch,) in enumerate(steps_of(run, 0)) if row in batch.tolist()) + 1

    def now(module):
        return state.model.training and state.step == step

    def spoil_weight(module, args):
        if now(module):
            next(module.parameters(recurse=False)).data.view(-1)[-1] = value

    def spoil_gradient(module, args, outputs):
        for tensor in tree_leaves(outputs) if now(module) else ():
            if isinstance(tensor, torch.Tensor) and tensor.requires_grad:
                tensor.register_hook(lambda gradient: gradient * value)

    def spoil_result(module, args, outputs):
        return tree_map(lambda y: y * value if isinstance(y, torch.Tensor) else y, outputs) if now(module) else None

    module = run.loss if where == "loss" else run.state.model.get_submodule(where)
    if kind == "weight":
        module.register_forward_pre_hook(spoil_weight)
    else:
        module.register_forward_hook(spoil_gradient if kind == "gradient" else spoil_result)
    return step + 1


def found_in(run):
    """The record of what is not finite; the run stops there."""
    records, made = [], fit(run)
    with pytest.raises(RunFailed) as caught:
        records.extend(made)
    (found,) = [record for record in records if isinstance(record, NonFinite)]
    assert records[-1] is found
    assert str(caught.value).startswith(found.text)
    return found


def finite(run):
    return all(tensor.isfinite().all() for tensor in run.state.model.state_dict().values())


FEW = [
    ("regression", "input", "", math.nan),
    ("regression", "target", "", math.inf),
    ("mlp", "weight", "layers.1.linear", math.nan),
    ("mlp", "gradient", "layers.1.linear", math.nan),
    ("mlp", "gradient", "layers.0.linear", -math.inf),
    ("mlp", "result", "head", math.inf),
    ("mlp", "result", "loss", math.nan),
]


@pytest.mark.parametrize(("network", "kind", "where", "value"), FEW)
def test_the_step_is_found_and_the_weights_are_those_before_it(network, kind, where, value):
    run = built(network)
    step = plant(run, kind, where, value, 9)
    found = found_in(run)
    assert found.step + 1 == step
    assert found.origin.call
    assert finite(run)
    assert run.state.step == found.step


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_the_step_is_found_wherever_the_value_comes_from(network):
    places = [(kind, "") for kind in ("input", "target") if kind == "input" or network == "regression"]
    places += [(kind, name) for name in layers(built(network)) for kind in ("weight", "gradient", "result")]
    places += [("result", "loss")]
    made = 0
    for kind, where in places:
        for value in (math.nan, math.inf, -math.inf):
            for at in (0, 2, 7) if network in SMALL else (2,):
                run = built(network)
                step = plant(run, kind, where, value, at, row=9 * at + 1)
                found = found_in(run)
                assert found.step + 1 == step, (kind, where, value, at)
                assert found.origin.call, (kind, where, value, at)
                assert finite(run) or kind == "input", (kind, where, value, at)
                made += 1
    assert made >= INJECTIONS[network]


def test_the_rows_and_the_call_are_named():
    run = built("regression")
    plant(run, "input", "", math.nan, 0, row=5)
    found = found_in(run)
    assert found.origin.rows == (5,)
    assert "flatten" in found.origin.call
    assert found.origin.call.endswith("its input")
    run = built("regression")
    plant(run, "target", "", math.nan, 0, row=7)
    found = found_in(run)
    assert (found.origin.rows, found.origin.call.split(", ")[-1]) == ((7,), "its targets")
    run = built("mlp")
    plant(run, "gradient", "layers.1.linear", math.nan, 4)
    found = found_in(run)
    assert "its loss is finite" in found.what
    assert "linear in layers.1.linear" in found.origin.call
    run = built("mlp")
    plant(run, "weight", "layers.1.linear", math.nan, 4)
    assert "layers.1.linear" in found_in(run).origin.call


def test_a_mask_of_infinities_is_no_fault():
    run = built("transformer", "fit.epochs=1")
    assert not [record for record in fit(run) if isinstance(record, NonFinite)]
    step = plant(run := built("transformer"), "result", "head", math.nan, 3)
    assert found_in(run).step + 1 == step


def test_a_spoiled_weight_that_no_loss_shows_is_found_at_its_step():
    run = built("mlp")
    model = run.state.model
    model.register_parameter("unused", torch.nn.Parameter(torch.zeros(3)))

    def spoil(module, args):
        if module.training and run.state.step == 11:
            module.unused.data[1] = math.nan

    model.register_forward_pre_hook(spoil)
    found = found_in(run)
    assert found.step == 11
    assert "unused after it is not" in found.what


@pytest.mark.parametrize("policy", ["skip", "restore"])
@pytest.mark.parametrize("kind", ["gradient", "result"])
def test_training_goes_on_without_the_step_in_the_same_way_whenever_it_is_noticed(policy, kind, monkeypatch):
    ends = []
    for share in (guard.SHARE, 1e-9, 1e9):  # copies now and then, at the start alone, and before each step
        monkeypatch.setattr(guard, "SHARE", share)
        run = built("mlp", f"fit.on_nonfinite={policy}", "model.dropout=0.1")
        plant(run, kind, "layers.1.linear", math.nan, 9)
        records = list(fit(run))
        steps = [record.step for record in records if isinstance(record, Stepped)]
        assert steps == [step for step in range(1, run.total_steps + 1) if step != 10 or kind == "gradient"]
        assert [record.step for record in records if isinstance(record, NonFinite)] == [9]
        assert [record.epoch for record in records if isinstance(record, Evaluated)] == [1, 2, 3]
        assert finite(run)
        ends.append((run.state.snapshot(), [record for record in records if isinstance(record, Evaluated)]))
    for snapshot, evaluated in ends[1:]:
        assert all(torch.equal(snapshot.model[name], tensor) for name, tensor in ends[0][0].model.items())
        assert all(torch.equal(snapshot.optimizer[name], tensor) for name, tensor in ends[0][0].optimizer.items())
        assert [e.scores for e in evaluated] == [e.scores for e in ends[0][1]]


@pytest.mark.parametrize("cut", [9, 10, 12, 14])
@pytest.mark.parametrize("policy", ["skip", "restore"])
def test_a_run_that_left_a_step_out_goes_on_from_a_snapshot_to_the_bit(policy, cut):
    def planted():
        run = built("mlp", f"fit.on_nonfinite={policy}", "model.dropout=0.1")
        plant(run, "result", "loss", math.nan, 9)
        return run

    whole = planted()
    expected = list(fit(whole))
    first = planted()
    for record in fit(first):
        if isinstance(record, (Stepped, NonFinite)) and record.step >= cut:
            break
    snapshot, best = first.state.snapshot(), first.state.best
    second = planted()
    second.state.restore(snapshot, best and Snapshot(best.model, {}, {}, {}))
    records = list(fit(second))
    assert all(map(torch.equal, whole.state.model.parameters(), second.state.model.parameters()))
    scores, again = ([r.scores for r in of if isinstance(r, Evaluated)] for of in (expected, records))
    assert scores[-len(again) :] == again


def test_restore_goes_on_with_the_best_weights_and_an_optimizer_at_its_start():
    run = built("mlp", "fit.on_nonfinite=restore")
    plant(run, "result", "loss", math.inf, 12)
    for record in fit(run):
        if isinstance(record, NonFinite):
            best = {name: tensor.clone() for name, tensor in run.state.best.model.items()}
            assert not all(torch.equal(tensor, best[name]) for name, tensor in run.state.model.state_dict().items())
        if isinstance(record, Stepped) and record.step > 13:
            break
    moved = [(tensor - best[name]).abs().max().item() for name, tensor in run.state.model.state_dict().items()]
    rate = run.settings.optimizer.lr
    assert max(moved) == pytest.approx(rate, rel=1e-3)  # the first step of Adam
    assert {int(kept["step"]) for kept in run.state.optimizer.state.values()} == {1}
    plant(run := built("mlp", "fit.on_nonfinite=restore"), "result", "loss", math.inf, 2)
    with pytest.raises(RunFailed, match="no earlier weights"):
        list(fit(run))


def test_too_many_steps_in_a_row_end_the_run():
    run = built("regression", "fit.on_nonfinite=skip", "fit.batch_size=16")
    run.dataset.parts["train"].targets.fill_(math.nan)
    with pytest.raises(RunFailed, match="10 steps before it were left out"):
        list(fit(run))
    run = built("mlp", "fit.on_nonfinite=skip")
    next(run.state.model.parameters()).data.view(-1)[3] = math.nan
    with pytest.raises(RunFailed, match="step 1: the weights are not finite before it"):
        list(fit(run))


def test_what_does_not_happen_again_is_said_so(monkeypatch):
    for policy in ("stop", "skip"):
        run, done = built("mlp", f"fit.on_nonfinite={policy}"), []

        def once(module, args, outputs, run=run, done=done):
            if module.training and run.state.step == 9 and not done:
                done.append(1)
                return outputs * math.nan
            return None

        run.loss.register_forward_hook(once)
        if policy == "stop":
            assert "made again" in found_in(run).text
        else:
            records = list(fit(run))
            assert ["made again" in record.text for record in records if isinstance(record, NonFinite)] == [True]
            plain = built("mlp")
            list(fit(plain))
            assert all(map(torch.equal, run.state.model.parameters(), plain.state.model.parameters()))


@pytest.mark.parametrize("engine", ["compiled", "auto"])
def test_a_compiled_step_is_found_too(engine):
    run = built("regression", f"fit.engine={engine}", "check.enabled=false")
    step = plant(run, "input", "", math.nan, 0, row=8)
    found = found_in(run)
    assert (found.step + 1, found.origin.rows) == (step, (8,))
    assert finite(run)


HEALTHY = [
    *NETWORKS.values(),
    ["data=iris", "optimizer=lbfgs", "fit.epochs=3", "model.sizes=[5]"],
    ["data=iris", "optimizer=cg", "fit.epochs=3", "model.sizes=[5]"],
    *([*NETWORKS["mlp"], f"optimizer={name}"] for name in ("sgd", "rprop", "muon", "adagrad", "rmsprop", "asgd")),
    [*NETWORKS["mlp"], "precision=bf16", "fit.clip=0.1"],
    [*NETWORKS["mlp"], "fit.accumulate=2", "model.dropout=0.5", "model/activation=relu"],
    [*NETWORKS["cnn"], "model/activation=relu", "optimizer.lr=0.5"],
    [*DIGITS, "model=gru", "model.hidden=5", "model.layers=2", "model.dropout=0.2"],
    [*DIGITS, "model=autoencoder", "model.sizes=[9]", "loss=mse"],
    [*NETWORKS["mlp"], "fit.engine=compiled", "fit.on_nonfinite=skip"],
    [*NETWORKS["mlp"], "optimizer=adamw", "scheduler=cosine", "fit.on_nonfinite=restore"],
    [*NETWORKS["regression"], "loss=huber"],
]


@pytest.mark.slow
@pytest.mark.parametrize("overrides", HEALTHY, ids=range(len(HEALTHY)))
def test_a_healthy_run_has_no_fault(overrides):
    run = build(settings_of(compose(overrides)))
    assert not [record for record in fit(run) if isinstance(record, NonFinite)]
