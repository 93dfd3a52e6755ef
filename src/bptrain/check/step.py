"""check_step: one step of training against the same step by hand, from the state before it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bptrain.check.batches import Batches
from bptrain.check.buffers import compare_buffers
from bptrain.check.evaluation import Evaluation, observed
from bptrain.check.gradients import check_recorded
from bptrain.check.optimizer import names_of
from bptrain.check.rates import Schedule, compare_rates, others
from bptrain.check.recording import Recording
from bptrain.check.report import GradientReport
from bptrain.check.step_report import StepReport
from bptrain.check.stepped_gradient import compare_stepped
from bptrain.check.stepped_update import compare_update
from bptrain.check.tf32 import multiplies_in_tf32
from bptrain.check.tolerance import GradientError, compare, roundoff
from bptrain.check.update import slots
from bptrain.check.verdict import ORDER
from bptrain.reference.accumulation import accumulate
from bptrain.reference.draws import Draws
from bptrain.reference.update import update_for

PART = "loss, gradients of the step and buffers, which need all rows of a batch"


def check_step(
    model: nn.Module,
    loss: nn.Module,
    optimizer: Optimizer,
    batches: Sequence[tuple[Tensor, Tensor]],
    take: Callable[[], Tensor],
    *,
    schedule: Schedule | None = None,
    step: int = 0,
    clip: float | None = None,
    casts: AbstractContextManager[object] | None = None,
    rows: int | None = None,
    seed: int = 0,
    strict: bool = False,
    compiled: bool = False,
) -> StepReport:
    """Verifies the gradients of the batches, has the step made by `take`, and compares all that it did.

    `batches` are inputs and targets. `take` makes a step of `optimizer` on the gradient of the mean loss over all
    rows of the batches, clipped to the norm `clip`, model and loss being run inside `casts`; it returns that loss. It
    is not called where a gradient is wrong, or the loss not finite. But for that step, model, optimizer and torch's
    generators stay as they are. `schedule` says which learning rates are due in it, it being the one after `step`
    others. A step that is `compiled` may round elsewhere than torch's own calls. With `rows` the gradients of so many
    rows of each batch are verified, and of the step the update and its rates alone.
    """
    parts = [(inputs[:rows], targets[:rows]) for inputs, targets in batches]
    given = Batches(parts, loss, casts or nullcontext(), seed)
    generator, reports = torch.Generator().manual_seed(seed), []

    def verify(exact: Recording, own: Recording) -> None:
        reports.append(check_recorded(exact, own, generator, strict))

    passes = [given.run(model, Draws.now(), verify)]
    report = _worst(reports)
    if not (report.finite and report.ok):
        return StepReport(report)
    names, update = names_of(optimizer, model.named_parameters()), update_for(type(optimizer))
    flat = [name for group in names for name in group]
    start = Evaluation.now(optimizer)
    before = slots(optimizer, update, names) if update is not None else []
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with observed(optimizer) as seen:
        value = take()
    if not seen:  # whoever made the step, it was not the optimizer
        seen = [replace(Evaluation.now(optimizer), parameters=start.parameters, rates=start.rates)]

    def instead(group: int) -> dict[str, float]:
        return others(schedule, step, group) if schedule is not None else {}

    updated, used = compare_update(optimizer, update, before, seen, names, generator, instead)
    rates = compare_rates(used, schedule, step) if schedule is not None else []
    if given.sizes != [len(inputs) for inputs, _ in batches]:
        return StepReport(report, rates=rates, update=updated, note=PART)
    for evaluation in seen[1:]:
        passes.append(_at(evaluation, flat, given, passes[-1][-1]))
    losses, stepped = [_compare_loss(value, given, passes[0])], []
    for evaluation, old, recordings in zip(seen, [start, *seen[:-1]], passes, strict=True):
        theirs, stale = (dict(zip(flat, e.gradients, strict=True)) for e in (evaluation, old))
        mine, dtype = given.gradients(recordings, flat), max((r.dtype for r in recordings), key=roundoff)
        coarse = torch.finfo(dtype).bits < 32
        if multiplies_in_tf32(value.device):
            coarse, dtype = True, torch.float16  # which has as many bits
        exactly = functools.partial(given.exact_gradients, recordings, flat)
        # Torch's own calls round where those of `mine` do, and are held to that.
        asked, judged = (exactly, dtype if coarse else None) if compiled or not coarse else (None, None)
        stepped.append(compare_stepped(theirs, mine, given.sizes, clip, stale, asked, judged))
        if evaluation.loss is not None:
            losses.append(_compare_loss(value.new_tensor(evaluation.loss), given, recordings))
    tapes = [recording.tape for recordings in passes for recording in recordings]
    return StepReport(
        report,
        loss=max(losses, key=_rank),
        stepped=max(stepped, key=lambda found: max(map(_rank, found.parameters.values()))),
        rates=rates,
        update=updated,
        buffers=compare_buffers(model, passes[-1][-1].model, buffers, tapes),  # type: ignore[arg-type]
    )


def _at(evaluation: Evaluation, names: list[str], batches: Batches, last: Recording) -> list[Recording]:
    """The batches at the parameters of an evaluation, by the copy of the model that the last recording left."""
    model: nn.Module = last.model  # type: ignore[assignment]
    known = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in zip(names, evaluation.parameters, strict=True):
            known[name].copy_(parameter)
    return batches.run(model, last.after)


def _compare_loss(theirs: Tensor, batches: Batches, recordings: list[Recording]) -> GradientError:
    """The loss that the engine gives against the mean over all rows of those of the batches."""
    losses = batches.losses(recordings)
    (exact,), (again,) = (
        accumulate([[x] for x in row], batches.sizes) for row in ([x.double() for x in losses], losses)
    )
    return compare(theirs, exact, lambda: [(again, 1.0)], again.dtype)


def _worst(reports: list[GradientReport]) -> GradientReport:
    def badness(report: GradientReport) -> tuple[bool, int, float]:
        return not report.finite, ORDER.index(report.verdict), -1.0 if math.isnan(report.error) else report.error

    return max(reports, key=badness)


def _rank(error: GradientError) -> tuple[int, float]:
    return ORDER.index(error.verdict), -1.0 if math.isnan(error.error) else error.error
