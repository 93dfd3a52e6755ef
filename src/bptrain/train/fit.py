"""fit: trains a run and yields what happens as records. Who reads them shows, writes or stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from bptrain.check.step import check_step
from bptrain.errors import GradientsWrong, RunFailed
from bptrain.train.engine import Eager
from bptrain.train.evaluation import evaluate
from bptrain.train.guard import CURE, ONCE, Guard, cure
from bptrain.train.health import HealthMonitor
from bptrain.train.loader import read_ahead
from bptrain.train.order import batches, permutation
from bptrain.train.parallel import divided, whole
from bptrain.train.record import Checked, Evaluated, Finished, Health, Record, Scores, Stepped
from bptrain.train.run import Run

DRAWN = "loss, gradients of the step and buffers, since each process draws dropout of its own"


def fit(run: Run) -> Iterator[Record]:
    """Trains until `fit.epochs`, `fit.patience` or the optimizer ends it; at every record the state is current.

    A check that finds something wrong is yielded, then raised: GradientsWrong. So is a step that is not finite, unless
    `fit.on_nonfinite` lets training go on: RunFailed, as when the loss of another part is not finite.
    """
    settings, state = run.settings, run.state
    early, chosen, health, guard = stopped(run), None, HealthMonitor(run), Guard(run)
    while state.epoch < settings.fit.epochs and not early:
        total = torch.zeros((), device=run.device) if state.total is None else state.total
        steps, measured = divided(steps_of(run, state.epoch), run.ranks), health.due(state.epoch)
        step, spoiled = steps[-1], False
        for step in read_ahead(run.dataset.parts["train"].inputs, steps[state.within :]):
            state.current = False
            if spoiled := guard.damaged():
                break
            if state.within == measured:
                health.begin()
            lr, checked = state.optimizer.param_groups[0]["lr"], None
            if due(run, state.step):
                checked = check(run, step, run.engine.step, compiled=not isinstance(run.engine, Eager))
                if checked.loss is None and checked.report.finite:
                    state.current = True
                    yield checked
                    raise fault(checked)
                loss = checked.loss
            else:
                loss = run.engine.step(step)
            if spoiled := guard.broken(loss):
                break
            assert loss is not None
            if state.within == measured:
                health.end()
            state.schedule.step()
            total = total + loss  # in the dtype of the loss
            state.total, state.lr, state.row = total, lr, 0
            state.step, state.within = state.step + 1, state.within + 1
            if state.step <= guard.told:  # it was made before
                continue
            state.current = True
            if checked is not None:
                yield checked
                if not checked.report.ok:
                    raise fault(checked)
            if run.engine.chosen is not None and chosen is None:
                yield (chosen := run.engine.chosen)
            yield Stepped(state.epoch + 1, state.step, sum(map(len, whole(step))), loss, lr)
        else:
            spoiled = guard.damaged(last=True)
        if spoiled:
            found = guard.back(step)
            if found is not None:
                state.current = True
                yield found
                if settings.fit.on_nonfinite == "stop":
                    raise RunFailed(f"{found.text} {cure(found)}")
                if found.what is not ONCE:
                    guard.leave_out()
            continue
        evaluated, early = end_epoch(run, total / (len(steps) - state.left_out), health)
        if state.epoch > guard.epochs:
            state.current = True
            if evaluated is not None:
                yield evaluated
    yield finish(run, early)


def end_epoch(run: Run, train_loss: Tensor, health: HealthMonitor) -> tuple[Evaluated | None, str]:
    """Counts an epoch whose steps had that mean loss; the evaluation if one is due, and why training ends, if it does.

    RunFailed when a loss is not finite.
    """
    settings, state = run.settings.fit, run.state
    state.current = False
    state.epoch, state.within, state.total, state.left_out = state.epoch + 1, 0, None, 0
    evaluated = None
    if not state.epoch % settings.evaluate or state.epoch == settings.epochs or stopped(run):
        evaluated = _evaluate(run, *health.read(train_loss))
    return evaluated, stopped(run)


def stopped(run: Run) -> str:
    """Why training ends before `fit.epochs`, if it does. Optimizers that search along lines know when they are done."""
    patience = run.settings.fit.patience
    if early := getattr(run.state.optimizer, "stopped", ""):
        return early
    return "no better value within fit.patience" if patience is not None and run.state.stale >= patience else ""


def check(run: Run, step: list[Tensor], make: Callable[[list[Tensor]], Tensor], compiled: bool = False) -> Checked:
    """Has a step made by `make`, and compares it with the reference; training goes on as if it had not been compared.

    `make` changes the run's state, and returns the loss; `compiled` says whether that is a program.
    """
    start = time.perf_counter()
    part, settings = run.dataset.parts["train"], run.settings
    replica = run.unsharded.of(run.state, settings) if run.unsharded is not None else None
    model, optimizer = (run.state.model, run.state.optimizer) if replica is None else (replica.model, replica.optimizer)
    batches, made = whole(step), list[Tensor]()

    def take() -> Tensor:
        made.append(make(step))
        if replica is not None:
            replica.refresh()
        return made[-1]

    report = check_step(
        model,
        run.loss,
        optimizer,
        [(part.inputs[rows], part.targets[rows]) for rows in batches],
        take,
        schedule=run.state.schedule,
        step=run.state.step,
        clip=settings.fit.clip,
        casts=run.casts,
        rows=settings.check.rows,
        seed=settings.seed,
        strict=settings.check.strict,
        compiled=compiled,
    )
    if run.drawing and run.ranks is not None and run.ranks.size > 1:
        report = replace(report, loss=None, stepped=None, buffers={}, note=DRAWN)
    seconds, batch = time.perf_counter() - start, sum(map(len, batches))
    rows = sum(len(rows[: settings.check.rows]) for rows in batches)
    return Checked(run.state.step, seconds, report, rows, batch, made[0] if made else None)


def due(run: Run, step: int) -> bool:
    """Whether the step after `step` others is one to check."""
    settings = run.settings.check
    return settings.enabled if step == 0 else settings.every is not None and step % settings.every == 0


def fault(checked: Checked) -> GradientsWrong | RunFailed:
    """What to raise for a check that is not fine. When a loss is not finite before step 1, no rate is to blame."""
    step = checked.step
    if checked.report.finite:
        return GradientsWrong((f"step {step + 1}: " if step else "") + checked.report.summary())
    if step == 0:
        return RunFailed("the loss is not finite at the start: look at the data and the settings of the model.")
    return RunFailed(f"step {step}: the loss is not finite. Training diverged. {CURE}")


def steps_of(run: Run, epoch: int) -> list[list[Tensor]]:
    """The steps of an epoch, each a list of the batches that are accumulated in it."""
    fit = run.settings.fit
    order = permutation(len(run.dataset.parts["train"]), run.settings.seed, epoch)
    cut = batches(order.to(run.device), run.batch_size, fit.drop_last)
    return [cut[i : i + fit.accumulate] for i in range(0, len(cut), fit.accumulate)]


def _evaluate(run: Run, train_loss: float, health: Health | None) -> Evaluated:
    """Scores of an epoch. The monitored value is the validation part's, or the training part's without one."""
    state, scores = run.state, {"train": {"loss": _finite("training", train_loss, run.state.epoch)}}
    if "validation" in run.dataset.parts:
        scores["validation"] = _scores(run, "validation", state.epoch)
    watched = scores.get("validation", scores["train"])
    monitored = watched[run.monitor] * (-1 if run.mode == "max" else 1)
    best = state.improved(monitored, watched["loss"])
    state.schedule.evaluated(monitored)
    return Evaluated(state.epoch, state.step, state.lr, scores, best, health)


def finish(run: Run, early: str) -> Finished:
    """Scores of the best weights on the test part; the state keeps the last ones."""
    state, scores = run.state, {}
    if "test" in run.dataset.parts and state.best is not None:
        state.current = False
        last = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
        state.model.load_state_dict(state.best.model)
        scores = _scores(run, "test", state.best_epoch)
        state.model.load_state_dict(last)
        state.current = True
    return Finished(state.best_epoch, state.best_step, scores, early)


def _scores(run: Run, part: str, epoch: int) -> Scores:
    scores = evaluate(run.state.model, run.loss, run.dataset, part, run.metrics, run.casts, run.ranks)
    _finite(part, scores["loss"], epoch)
    return scores


def _finite(part: str, loss: float, epoch: int) -> float:
    """The loss of a part after an epoch; RunFailed when it is none."""
    if not math.isfinite(loss):
        raise RunFailed(f"epoch {epoch}: the {part} loss is {loss}. Training diverged. {CURE}")
    return loss
