"""fit: trains a run and yields what happens as records. Who reads them shows, writes or stops."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import chain, islice

import torch
from torch import Tensor

from bptrain.check.gradients import check_gradients
from bptrain.errors import GradientsWrong, RunFailed
from bptrain.train.evaluation import evaluate
from bptrain.train.order import batches, permutation
from bptrain.train.record import Checked, Evaluated, Finished, Record, Scores, Stepped
from bptrain.train.run import Run

CURE = "Try a lower optimizer.lr, or fit.clip=1."


def fit(run: Run) -> Iterator[Record]:
    """Trains until `fit.epochs` or `fit.patience` ends it; the state of the run is current at every record.

    A check that finds a wrong gradient is yielded, then raised: GradientsWrong. RunFailed when the loss of any
    part is not finite.
    """
    settings, state = run.settings, run.state
    groups = state.optimizer.param_groups
    every = settings.check.every
    early = False
    while state.epoch < settings.fit.epochs and not early:
        total = torch.zeros((), device=run.device)
        steps = _steps(run, state.epoch)
        for step in steps:
            if (settings.check.enabled and state.step == 0) or (every and state.step and state.step % every == 0):
                checked = check(run, step[0])
                yield checked
                if not checked.report.finite:
                    raise not_finite(state.step)
                if not checked.report.ok:
                    raise GradientsWrong(checked.report.summary())
            lr = groups[0]["lr"]
            loss = run.engine.step(step)
            state.schedule.step()
            state.step += 1
            total += loss
            yield Stepped(state.epoch + 1, state.step, sum(map(len, step)), loss, lr)
        state.epoch += 1
        if state.epoch % settings.fit.evaluate == 0 or state.epoch == settings.fit.epochs:
            evaluated = _evaluate(run, (total / len(steps)).item(), lr)
            early = settings.fit.patience is not None and state.stale >= settings.fit.patience
            yield evaluated
    yield _test(run, early)


def check(run: Run, rows: Tensor) -> Checked:
    """Verifies the gradients of a batch at the run's present weights; training goes on as if it had not been."""
    start = time.perf_counter()
    part, settings = run.dataset.parts["train"], run.settings
    checked = rows[: settings.check.rows]
    report = check_gradients(
        run.state.model,
        part.inputs[checked],
        part.targets[checked],
        run.loss,
        seed=settings.seed,
        strict=settings.check.strict,
    )
    return Checked(run.state.step, time.perf_counter() - start, report, len(checked), len(rows))


def not_finite(step: int) -> RunFailed:
    """What to raise when the loss of the batch before `step` is not finite: before the first, no rate is to blame."""
    if step == 0:
        return RunFailed("the loss is not finite at the start: look at the data and model.init.")
    return RunFailed(f"step {step}: the loss is not finite: training diverged. {CURE}")


def check_batches(run: Run, count: int) -> Iterator[Checked]:
    """Verifies the first `count` steps' first batches at the weights of the start; trains nothing."""
    epochs = (_steps(run, epoch) for epoch in range(run.settings.fit.epochs))
    for step in islice(chain.from_iterable(epochs), count):
        yield check(run, step[0])


def _steps(run: Run, epoch: int) -> list[list[Tensor]]:
    """The steps of an epoch, each a list of the batches that are accumulated in it."""
    fit = run.settings.fit
    order = permutation(len(run.dataset.parts["train"]), run.settings.seed, epoch)
    cut = batches(order.to(run.device), run.batch_size, fit.drop_last)
    return [cut[i : i + fit.accumulate] for i in range(0, len(cut), fit.accumulate)]


def _evaluate(run: Run, train_loss: float, lr: float) -> Evaluated:
    """Scores of an epoch. The monitored value is the validation part's, or the training part's without one."""
    state, scores = run.state, {"train": {"loss": _finite("training", train_loss, run.state.epoch)}}
    if "validation" in run.dataset.parts:
        scores["validation"] = _scores(run, "validation", state.epoch)
    watched = scores.get("validation", scores["train"])
    monitored = watched[run.monitor] * (-1 if run.mode == "max" else 1)
    best = state.improved(monitored, watched["loss"])
    state.schedule.evaluated(monitored)
    return Evaluated(state.epoch, state.step, lr, scores, best)


def _test(run: Run, early: bool) -> Finished:
    """Scores of the best weights on the test part; the state keeps the last ones."""
    state, scores = run.state, {}
    if "test" in run.dataset.parts and state.best is not None:
        last = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
        state.model.load_state_dict(state.best.model)
        scores = _scores(run, "test", state.best_epoch)
        state.model.load_state_dict(last)
    return Finished(state.best_epoch, state.best_step, scores, early)


def _scores(run: Run, part: str, epoch: int) -> Scores:
    scores = evaluate(run.state.model, run.loss, run.dataset, part, run.metrics)
    _finite(part, scores["loss"], epoch)
    return scores


def _finite(part: str, loss: float, epoch: int) -> float:
    """The loss of a part after an epoch; RunFailed when it is none."""
    if not math.isfinite(loss):
        raise RunFailed(f"epoch {epoch}: the {part} loss is {loss}: training diverged. {CURE}")
    return loss
