"""Requirements: what parts of a run that are each fine must be together, before anything is trained."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.config.component import components
from bptrain.config.settings import Settings
from bptrain.data.dataset import Dataset
from bptrain.errors import BptrainError, Problem, RequestError
from bptrain.losses.classification import CrossEntropy
from bptrain.metrics import Metric
from bptrain.models.recurrent import Recurrent
from bptrain.reference.draws import kept
from bptrain.schedulers import Constant


def batches_add_up(settings: Settings, dataset: Dataset, divided: bool) -> None:
    """RequestError when the mean over a step's rows is not the mean of its batches' means, weighted by their rows.

    `divided` says whether batches are parts of larger ones, divided among processes.
    """
    if (settings.fit.accumulate == 1 and not divided) or not isinstance(settings.loss, CrossEntropy):
        return
    if settings.loss.weight is not None:
        what = "but loss.weight makes the loss of each a mean by its targets' weights."
    elif dataset.task in ("tagging", "transduction"):
        what = f"but in {dataset.task} the loss of each is a mean over its tokens, of which some have more."
    else:
        return
    if divided:
        raise RequestError(Problem("torchrun", f"divides batches by their rows, {what}", "Start it without torchrun."))
    cure = "Write fit.accumulate=1 and a larger fit.batch_size."
    raise RequestError(Problem("fit.accumulate", f"averages batches by their rows, {what}", cure))


def truncates(settings: Settings) -> None:
    """RequestError when the gradient through time is to be cut, and the model reads no sequence step by step."""
    model, name = settings.model, settings.model.name
    if settings.fit.tbptt is None or (isinstance(model, Recurrent) and not model.bidirectional):
        return
    what = f"cuts the gradient through time, and {name} does not read step by step."
    if isinstance(model, Recurrent):
        what = f"cuts a sequence into chunks, and the state of a bidirectional {name} also comes from its end."
    raise RequestError(Problem("fit.tbptt", what, "Write null, or model=rnn, gru or lstm with bidirectional=false."))


def goes_back_alone(settings: Settings) -> None:
    """RequestError when several processes should leave out a step that is not finite."""
    if settings.fit.on_nonfinite != "stop":
        what = f"{settings.fit.on_nonfinite} goes back to an earlier state, which several processes can't do together."
        raise RequestError(Problem("fit.on_nonfinite", what, "Write stop, or start it without torchrun."))


def graph_has_a_gpu(settings: Settings, device: torch.device) -> None:
    """RequestError when steps are to be CUDA graphs, and the run is on another device."""
    if settings.fit.engine == "graph" and device.type != "cuda":
        what = f"graph records steps of an NVIDIA GPU, and this run is on {device}."
        raise RequestError(Problem("fit.engine", what, "Write fit.engine=compiled, or device=cuda where there is one."))


def search_is_free(settings: Settings) -> None:
    """RequestError when a line search would get another gradient than that of its loss, or another rate."""
    if not settings.optimizer.line_search:
        return
    name, problems = settings.optimizer.name, []
    if settings.fit.clip is not None:
        what = f"changes the gradient, and the line search of {name} needs that of the loss itself."
        problems.append(Problem("fit.clip", what, "Write fit.clip=null."))
    if settings.scheduler != Constant():
        what = f"changes the learning rate, and {name} has none: its line search finds the length of each step."
        problems.append(Problem("scheduler", what, "Write scheduler=constant without a warm-up."))
    if problems:
        raise RequestError(problems)


def batches_suit_batch_norm(settings: Settings, model: nn.Module, rows: int, batch_size: int, processes: int) -> None:
    """RequestError when a batch of an epoch has a single row, of which batch normalization has no variance.

    Or fewer than one row for each of some processes: what a process without any takes must not count.
    """
    batch_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    last, needed = rows % batch_size or batch_size, max(2, processes)
    if batch_norm and (batch_size < needed or (last < needed and not settings.fit.drop_last)):
        least = "two" if needed == 2 else f"one for each of {processes} processes"
        what = f"leaves a batch of {min(last, batch_size)} of the {rows} rows, and batch normalization needs {least}."
        raise RequestError(Problem("fit.batch_size", what, "Write another size, or fit.drop_last=true."))


def forward_once(
    model: nn.Module, loss: nn.Module, dataset: Dataset, metrics: tuple[Metric, ...], shape: tuple[int, ...] | None
) -> None:
    """RequestError when the network can't take the data, or loss or metrics what it gives; changes nothing in them.

    `shape` is that of the output for one row; None where the loss takes what its own model gives.
    """
    part = dataset.parts["train"]
    rows, targets = part.inputs[:2], part.targets[:2]
    model.eval()
    try:
        with torch.no_grad(), kept():
            y = model(rows)
    except BptrainError:
        raise
    except Exception as error:  # a module of the user's own can fail in any way
        said = f"fails on inputs of shape {tuple(rows.shape)}: {error} ({type(error).__name__})"
        raise RequestError(Problem("model", f"{said}.", "BPTRAIN_TRACEBACK=1 shows where.")) from error
    finally:
        model.train()
    given = f"outputs of shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
    if shape is not None:
        if given != f"outputs of shape {(len(rows), *shape)}":
            what = f"gives {given}, not outputs of shape {(len(rows), *shape)}."
            raise RequestError(Problem("model", what, _losses_of(y, targets, dataset)))
    else:
        try:
            with torch.no_grad(), kept():
                loss(y, targets)
        except BptrainError:
            raise
        except Exception as error:
            what = f"can't take {given} of the model: {error}."
            raise RequestError(Problem("loss", what, _losses_of(y, targets, dataset))) from error
    for metric in metrics:
        if metric.of == "outputs":
            metric.compute(y, targets, dataset)


def _losses_of(y: Any, targets: Tensor, dataset: Dataset) -> str:
    """Which losses take what the model gives, as a sentence; '' when none does."""
    shape, fitting = tuple(y.shape[1:]) if isinstance(y, Tensor) else None, []
    for name, loss in components("loss").items():
        if dataset.task in loss.tasks and loss().output_shape(dataset) == shape:  # type: ignore[attr-defined]
            with suppress(Exception), torch.no_grad():
                loss().build(dataset)(y, targets)  # type: ignore[attr-defined]
                fitting.append(f"loss={name}")
    return f"Write {' or '.join(fitting)}." if fitting else ""
