"""fit: what training does, and what must not change it."""

import math
from contextlib import nullcontext

import pytest
import torch

from bptrain.config.compose import compose, settings_of
from bptrain.errors import GradientsWrong, RequestError, RunFailed
from bptrain.train.evaluation import evaluate
from bptrain.train.fit import fit
from bptrain.train.order import batches, permutation
from bptrain.train.record import Checked, Evaluated, Finished, Stepped
from bptrain.train.run import build

SMALL = ["data=iris", "fit.epochs=3", "fit.batch_size=16"]
MLP = ["model.sizes=[5]"]


def run_of(*overrides):
    sizes = [] if any(word.startswith("model=") for word in overrides) else MLP
    return build(settings_of(compose([*SMALL, *sizes, *overrides])))


def trained(*overrides):
    run = run_of(*overrides)
    return run, list(fit(run))


def weights(run):
    return torch.cat([tensor.flatten().double() for tensor in run.state.model.state_dict().values()])


def test_records_come_in_the_order_of_training():
    run, records = trained()
    kinds = [type(record) for record in records]
    steps = math.ceil(len(run.dataset.parts["train"]) / 16)
    assert kinds == [Checked, *([*[Stepped] * steps, Evaluated] * 3), Finished]
    assert [r.step for r in records if isinstance(r, Stepped)] == list(range(1, 3 * steps + 1))
    assert sum(r.rows for r in records if isinstance(r, Stepped)) == 3 * len(run.dataset.parts["train"])
    assert run.total_steps == run.state.step == 3 * steps


def test_two_runs_of_one_seed_are_equal_to_the_bit_and_of_two_seeds_are_not():
    a, b, c = trained("model.dropout=0.3"), trained("model.dropout=0.3"), trained("model.dropout=0.3", "seed=1")
    assert torch.equal(weights(a[0]), weights(b[0]))
    assert [r for r in a[1] if isinstance(r, (Evaluated, Finished))] == [
        r for r in b[1] if isinstance(r, (Evaluated, Finished))
    ]
    assert not torch.equal(weights(a[0]), weights(c[0]))


@pytest.mark.parametrize("model", ["mlp", "cnn", "rnn", "gru", "lstm"])
def test_checks_leave_training_as_it_is_to_the_bit(model):
    overrides = [f"model={model}", "data=digits", "fit.epochs=1", "model.dropout=0.2", "fit.batch_size=256"]
    overrides += {"mlp": ["model.norm=batch"], "cnn": ["model.norm=batch", "model.channels=[3]"]}.get(
        model, ["model.hidden=5", "model.layers=2"]
    )
    checked = trained(*overrides, "check.every=2", "check.rows=9")
    unchecked = trained(*overrides, "check.enabled=false")
    assert sum(isinstance(r, Checked) for r in checked[1]) >= 2
    assert not any(isinstance(r, Checked) for r in unchecked[1])
    assert torch.equal(weights(checked[0]), weights(unchecked[0]))
    assert checked[1][-1] == unchecked[1][-1]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
def test_a_check_of_every_step_leaves_training_as_it_is_to_the_bit(optimizer, precision):
    overrides = ["model.dropout=0.2", "model.norm=batch", "fit.clip=0.5", "fit.accumulate=3", f"precision={precision}"]
    overrides += [f"optimizer={optimizer}", "optimizer.lr=0.1", "scheduler=cosine"]
    overrides += ["fit.epochs=2"] if optimizer != "lbfgs" else ["optimizer.max_iter=4"]
    checked, unchecked = trained(*overrides, "check.every=1"), trained(*overrides, "check.enabled=false")
    checks = [r for r in checked[1] if isinstance(r, Checked)]
    assert len(checks) == checked[0].state.step
    assert [r.report.verdict for r in checks] == ["verified"] * len(checks)
    assert torch.equal(weights(checked[0]), weights(unchecked[0]))
    assert not torch.equal(weights(checked[0]), weights(run_of(*overrides)))
    states = [run.state.optimizer.state_dict()["state"] for run, _ in (checked, unchecked)]
    torch.testing.assert_close(*states, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("overrides", [[], ["fit.accumulate=3"], ["optimizer=lbfgs", "fit.epochs=2"]])
def test_under_fp64_all_is_float64(overrides):
    run, records = trained("precision=fp64", "model.norm=batch", *overrides)
    part = run.dataset.parts["train"]
    kept = [part.inputs, *run.state.model.parameters(), run.state.model.layers[0].norm.running_mean]
    kept += [record.loss for record in records if isinstance(record, Stepped)]
    assert {tensor.dtype for tensor in kept} == {torch.float64}
    assert part.targets.dtype == torch.int64


def test_bf16_rounds_the_forward_pass_and_nothing_that_is_kept():
    fine, coarse = trained(), trained("precision=bf16")
    losses = [[r.loss.item() for r in records if isinstance(r, Stepped)] for _, records in (fine, coarse)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    kept = [*coarse[0].state.model.parameters(), *(p.grad for p in coarse[0].state.model.parameters())]
    kept += [v for state in coarse[0].state.optimizer.state.values() for v in state.values()]
    assert {tensor.dtype for tensor in kept} == {torch.float32}
    run, part = run_of("precision=bf16"), "validation"
    scores = [evaluate(run.state.model, run.loss, run.dataset, part, (), casts) for casts in (nullcontext(), run.casts)]
    assert scores[0] != scores[1]


def test_evaluation_leaves_training_as_it_is_to_the_bit():
    often, seldom = trained("model.dropout=0.3"), trained("model.dropout=0.3", "fit.evaluate=3")
    assert torch.equal(weights(often[0]), weights(seldom[0]))
    assert [r.epoch for r in seldom[1] if isinstance(r, Evaluated)] == [3]


def test_a_wrong_gradient_stops_the_run_before_its_first_step(monkeypatch):
    run = build(settings_of(compose(SMALL)))
    run.state.model.head.register_full_backward_hook(lambda module, into, out: (into[0] * 1.01,))
    records, before = [], weights(run)
    with pytest.raises(GradientsWrong):  # noqa: PT012 - what was yielded before it counts
        for record in fit(run):
            records.append(record)
    assert [type(record) for record in records] == [Checked]
    assert torch.equal(before, weights(run))


def test_accumulated_batches_make_the_step_of_their_union():
    whole = trained("fit.batch_size=32", "optimizer=sgd", "fit.epochs=2")
    parts = trained("fit.batch_size=8", "fit.accumulate=4", "optimizer=sgd", "fit.epochs=2")
    assert whole[0].state.step == parts[0].state.step
    torch.testing.assert_close(weights(whole[0]), weights(parts[0]), rtol=1e-5, atol=1e-6)
    apart = trained("fit.batch_size=8", "optimizer=sgd", "fit.epochs=2")
    assert not torch.allclose(weights(whole[0]), weights(apart[0]), rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_length_of_a_step():
    overrides = ["optimizer=sgd", "optimizer.lr=1", "fit.clip=0.001", "fit.epochs=1", "fit.batch_size=1000"]
    run = build(settings_of(compose([*SMALL, *overrides])))
    before = weights(run)
    list(fit(run))
    assert (weights(run) - before).norm() == pytest.approx(0.001, rel=1e-3)


def test_patience_stops_after_so_many_evaluations_without_a_better_one():
    run, records = trained("optimizer.lr=0", "fit.epochs=50", "fit.patience=3")
    assert run.state.epoch == 4
    assert records[-1].early
    assert [r.best for r in records if isinstance(r, Evaluated)] == [True, False, False, False]
    assert not trained("fit.patience=50")[1][-1].early


def test_a_lower_loss_at_equal_accuracy_is_the_best_so_far_but_does_not_put_off_the_end():
    run, records = trained("optimizer=sgd", "optimizer.lr=1e-6", "fit.epochs=50", "fit.patience=3")
    evaluated = [r for r in records if isinstance(r, Evaluated)]
    losses = [r.scores["validation"]["loss"] for r in evaluated]
    assert len({r.scores["validation"]["accuracy"] for r in evaluated}) == 1
    assert losses == sorted(losses, reverse=True)
    assert all(r.best for r in evaluated)
    assert run.state.epoch == records[-1].epoch == 4
    assert records[-1].early
    assert not trained("optimizer=sgd", "optimizer.lr=1e-6", "fit.patience=3", "fit.epochs=9", "monitor=loss")[1][
        -1
    ].early


def test_the_test_part_is_scored_with_the_best_weights_and_the_last_ones_stay():
    run, records = trained("optimizer.lr=5", "fit.epochs=8", "monitor=loss")
    evaluated = [r for r in records if isinstance(r, Evaluated)]
    best = min(evaluated, key=lambda r: r.scores["validation"]["loss"])
    assert records[-1].epoch == best.epoch != 8
    assert [r.epoch for r in evaluated if r.best][-1] == best.epoch
    assert not all(torch.equal(run.state.best.model[k], v) for k, v in run.state.model.state_dict().items())


def test_a_full_batch_optimizer_takes_all_rows_and_lbfgs_minimises():
    run, records = trained("optimizer=gd", "fit.epochs=2")
    assert [r.rows for r in records if isinstance(r, Stepped)] == [len(run.dataset.parts["train"])] * 2
    overrides = ["optimizer=lbfgs", "optimizer.line_search_fn=strong_wolfe", "fit.epochs=3"]
    losses = [r.loss.item() for r in trained(*overrides)[1] if isinstance(r, Stepped)]
    assert losses[2] < losses[1] < losses[0]


def test_the_rate_of_a_step_is_the_scheduler_s():
    _, records = trained("scheduler=cosine", "optimizer.lr=0.1")
    rates = [r.lr for r in records if isinstance(r, Stepped)]
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.01


def test_without_validation_the_training_loss_is_monitored():
    run, records = trained("data.split.validation=0", "data.split.test=0", "fit.patience=2")
    assert (run.monitor, run.mode) == ("loss", "min")
    evaluated = [r for r in records if isinstance(r, Evaluated)]
    assert all(r.scores.keys() == {"train"} for r in evaluated)
    best = min(evaluated, key=lambda r: r.scores["train"]["loss"])
    assert records[-1] == Finished(best.epoch, best.step, {}, records[-1].early)
    again, _ = trained("data.split.validation=0", "monitor=loss")
    assert (again.monitor, again.mode) == ("loss", "min")


def test_a_loss_that_is_not_finite_fails_the_run():
    overrides = ["data=diabetes", "loss=mse", "optimizer=sgd", "optimizer.lr=1e30", "model/activation=relu"]
    with pytest.raises(RunFailed, match=r"step \d.*epoch \d.*optimizer.lr"):
        trained(*overrides)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_validation_or_test_loss_that_is_not_finite_fails_the_run(part):
    run = build(settings_of(compose(SMALL)))
    run.dataset.parts[part].inputs.fill_(math.nan)
    with pytest.raises(RunFailed, match=rf"epoch \d: the {part} loss is nan.*optimizer.lr"):
        list(fit(run))


def test_a_value_that_is_no_number_is_never_the_best():
    state = build(settings_of(compose(SMALL))).state
    assert not state.improved(math.nan, 0.5)
    assert state.best is None
    assert state.improved(2.0, 0.5)
    assert not state.improved(math.nan, 0.1)
    assert state.score == (2.0, 0.5)


def test_a_loss_that_is_not_finite_before_the_first_step_is_not_blamed_on_the_rate():
    run = build(settings_of(compose(SMALL)))
    run.dataset.parts["train"].inputs.fill_(math.nan)
    with pytest.raises(RunFailed, match=r"its loss is not finite.*its input\. Rows.*Look at these rows"):
        list(fit(run))


def test_all_that_does_not_fit_the_data_is_said_at_once():
    with pytest.raises(RequestError) as caught:
        build(settings_of(compose(["data=iris", "loss=mse", "model=cnn", "monitor=rmse"])))
    assert [problem.where for problem in caught.value.problems] == ["loss", "model", "monitor"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["loss.weight=[0,0,0]"], ["loss.weight", "above 0"]),
        (["model=cnn"], ["model", "cnn", "(4,)"]),
        (["model=cnn", "data=digits", "model.channels=[4,4,4,4,4]"], ["pooling 4", "(4, 1, 1)"]),
        (["model=cnn", "data=digits", "model.kernel=9", "model.padding=0"], ["conv 1", "kernel"]),
        (["model=lstm"], ["lstm", "(4,)"]),
        (["loss=mse"], ["loss", "cross_entropy"]),
        (["data=diabetes"], ["loss", "mse"]),
        (["monitor=rmse"], ["monitor", "rmse"]),
        (["monitor=acuracy"], ["monitor", "Did you mean 'accuracy'"]),
        (["model.norm=batch", "fit.batch_size=1"], ["fit.batch_size", "batch normalization"]),
        (["model.norm=batch", "fit.batch_size=97"], ["fit.batch_size", "fit.drop_last"]),
        (["monitor=accuracy", "data.split.validation=0"], ["monitor", "validation", "monitor=loss"]),
        (["loss.weight=[1,2]"], ["loss.weight", "3 classes"]),
        (["loss.weight=[1,2,3]", "fit.accumulate=2"], ["fit.accumulate", "loss.weight", "fit.batch_size"]),
        (["loss.weight=balanced", "fit.accumulate=3"], ["fit.accumulate", "loss.weight"]),
        (["optimizer=sgd", "optimizer.nesterov=true"], ["optimizer.nesterov", "momentum"]),
        (["device=cuda:7"], ["device", "cuda:7"]),
        (["data.split.test=0.9"], ["data.split", "test"]),
    ],
    ids=lambda value: " ".join(value) if "=" in value[0] else "",
)
def test_parts_that_do_not_fit_together_are_refused(overrides, words):
    with pytest.raises(RequestError) as caught:
        trained(*overrides)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_order_of_rows_is_a_function_of_seed_and_epoch():
    assert torch.equal(permutation(50, 3, 1), permutation(50, 3, 1))
    assert not torch.equal(permutation(50, 3, 1), permutation(50, 3, 2))
    assert not torch.equal(permutation(50, 3, 1), permutation(50, 1, 3))
    assert sorted(permutation(50, 3, 1).tolist()) == list(range(50))
    before = torch.get_rng_state()
    permutation(50, 3, 1)
    assert torch.equal(before, torch.get_rng_state())


def test_the_last_smaller_batch_can_be_left_out():
    order = torch.arange(10)
    assert [len(b) for b in batches(order, 4, drop_last=False)] == [4, 4, 2]
    assert [len(b) for b in batches(order, 4, drop_last=True)] == [4, 4]
    assert [len(b) for b in batches(order, 5, drop_last=True)] == [5, 5]
    assert [len(b) for b in batches(order, 20, drop_last=True)] == [10]


def test_the_loss_decides_between_epochs_of_equal_accuracy():
    _, records = trained("optimizer.lr=0.01", "fit.epochs=12", "optimizer=sgd")
    evaluated = [(r.epoch, r.scores["validation"], r.best) for r in records if isinstance(r, Evaluated)]
    best = min(evaluated, key=lambda e: (-e[1]["accuracy"], e[1]["loss"]))
    assert records[-1].epoch == best[0]
    assert len([e for e in evaluated if e[1]["accuracy"] == best[1]["accuracy"]]) > 1


def test_a_run_that_diverges_before_a_check_failed_and_is_not_accused():
    overrides = ["data=diabetes", "loss=mse", "optimizer=sgd", "optimizer.lr=1e30", "model/activation=relu"]
    with pytest.raises(RunFailed, match="not finite"):
        trained(*overrides, "check.every=1")
