"""Run: settings turned into data, network, loss and optimizer, before anything is written or trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.config.component import components
from bptrain.config.settings import Settings
from bptrain.data.dataset import Dataset, Part
from bptrain.errors import BptrainError, Problem, RequestError
from bptrain.losses.classification import CrossEntropy
from bptrain.metrics import Metric, Mode, chosen, metrics_for, monitored
from bptrain.models.recurrent import Recurrent
from bptrain.reference.draws import kept
from bptrain.schedulers import Constant
from bptrain.train.choice import Choosing
from bptrain.train.engine import Eager, Engine, LineSearch
from bptrain.train.precision import casts, dtype
from bptrain.train.record import Chosen
from bptrain.train.state import State


@dataclass
class Run:
    """All parts of a run, the data on the device.

    `batch_size` is all rows for a full-batch optimizer; model and loss are run inside `casts`.
    """

    settings: Settings
    dataset: Dataset
    loss: nn.Module
    state: State
    engine: Engine
    metrics: tuple[Metric, ...]
    monitor: str
    mode: Mode
    device: torch.device
    batch_size: int
    casts: AbstractContextManager[object]

    @property
    def steps_per_epoch(self) -> int:
        return _steps_per_epoch(self.settings, len(self.dataset.parts["train"]), self.batch_size)

    @property
    def total_steps(self) -> int:
        return self.settings.fit.epochs * self.steps_per_epoch


def build(settings: Settings, dataset: Dataset | None = None) -> Run:
    """The run of some settings; seeds torch's generator. RequestError with all that does not fit together.

    `dataset` is what its data load with its seed, where that is at hand.
    """
    torch.set_num_threads(settings.threads)
    device, number = _device(settings.device), dtype(settings.precision)
    dataset = settings.model.prepared(settings.data.load(settings.seed) if dataset is None else dataset)
    torch.manual_seed(settings.seed)
    problems: list[Problem] = []
    with _collected(problems):
        settings.loss.must_fit(dataset)
        loss = settings.loss.build(dataset).to(device, number)
    with _collected(problems):
        settings.model.must_fit(dataset)
        model = settings.model.network(dataset, settings.loss.outputs(dataset)).to(device, number)
    with _collected(problems):
        monitor, mode = _monitored(settings, dataset)
        metrics = chosen(settings.metrics, monitor, dataset.task)
    with _collected(problems):
        _batches_add_up(settings, dataset)
    with _collected(problems):
        _search_is_free(settings)
    with _collected(problems):
        _truncates(settings)
    if problems:
        raise RequestError(problems)
    if settings.fit.tbptt is not None:
        model.tbptt = settings.fit.tbptt  # type: ignore[assignment]
    parts = {name: part.to(device, number) for name, part in dataset.parts.items()}
    dataset = replace(dataset, parts=parts)
    condition = getattr(model, "condition", None)
    if condition is not None:
        condition(parts["train"].inputs[:], parts["train"].targets)
    rows = len(parts["train"])
    full_batch = settings.optimizer.full_batch or settings.loss.full_batch
    batch_size = rows if full_batch else min(settings.fit.batch_size, rows)
    _batches_suit_batch_norm(settings, model, rows, batch_size)
    optimizer = settings.optimizer.build(model.parameters())
    per_epoch = _steps_per_epoch(settings, rows, batch_size)
    schedule = settings.scheduler.build(optimizer, settings.fit.epochs * per_epoch, per_epoch)
    state = State(model, optimizer, schedule)
    inside = casts(settings.precision, device)
    engine = _engine(settings, state, loss, parts["train"], inside, settings.fit.epochs * per_epoch)
    _forward_once(model, loss, dataset, metrics, settings.loss.output_shape(dataset))
    return Run(settings, dataset, loss, state, engine, metrics, monitor, mode, device, batch_size, inside)


def _engine(
    settings: Settings,
    state: State,
    loss: nn.Module,
    part: Part,
    inside: AbstractContextManager[object],
    total_steps: int,
) -> Engine:
    fit = settings.fit
    torch.use_deterministic_algorithms(fit.deterministic)
    if settings.optimizer.closure:
        search = LineSearch(state, loss, part, fit.clip, inside)
        if fit.engine != "eager":
            why = f"it can't be compiled: {settings.optimizer.name} evaluates the loss itself, several times a step"
            search.chosen = Chosen(0, "eager", why, {})
        return search
    eager = Eager(state, loss, part, fit.clip, inside)
    if fit.engine == "eager" or (fit.engine == "auto" and fit.deterministic):
        return eager
    return Choosing(eager, total_steps, measuring=fit.engine == "auto")


@contextmanager
def _collected(problems: list[Problem]) -> Iterator[None]:
    """Puts the problems of a RequestError with the others."""
    try:
        yield
    except RequestError as error:
        problems += error.problems


def _device(name: str) -> torch.device:
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    device = torch.device(name)
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[device.type] or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise RequestError(Problem("device", f"this machine has no '{name}'.", "Write device=cpu or device=auto."))
    return device


def _monitored(settings: Settings, dataset: Dataset) -> tuple[str, Mode]:
    """What picks the best epoch: without a validation part the loss, the only score that the training part has."""
    if "validation" in dataset.parts:
        name, mode = monitored(settings.monitor, dataset.task)
        labels = dataset.parts["validation"].labels
        finding = {metric.name for metric in metrics_for(dataset.task) if metric.finds}
        if name in finding and (labels is None or not labels.any()):
            what = f"{name} says how well anomalies are found, and the validation part has none."
            raise RequestError(Problem("monitor", what, "Write monitor=loss."))
        return name, mode
    if settings.monitor not in (None, "loss"):
        what = f"'{settings.monitor}' is a metric of the validation part, and there is none."
        raise RequestError(Problem("monitor", what, "Write monitor=loss, or give data.split.validation a share."))
    return "loss", "min"


def _steps_per_epoch(settings: Settings, rows: int, batch_size: int) -> int:
    batches = max(1, rows // batch_size) if settings.fit.drop_last else math.ceil(rows / batch_size)
    return math.ceil(batches / settings.fit.accumulate)


def _batches_add_up(settings: Settings, dataset: Dataset) -> None:
    """RequestError when the mean over a step's rows is not the mean of its batches' means, weighted by their rows."""
    if settings.fit.accumulate == 1 or not isinstance(settings.loss, CrossEntropy):
        return
    if settings.loss.weight is not None:
        what = "but loss.weight makes the loss of each a mean by its targets' weights."
    elif dataset.task in ("tagging", "transduction"):
        what = f"but in {dataset.task} the loss of each is a mean over its tokens, of which some have more."
    else:
        return
    cure = "Write fit.accumulate=1 and a larger fit.batch_size."
    raise RequestError(Problem("fit.accumulate", f"averages batches by their rows, {what}", cure))


def _truncates(settings: Settings) -> None:
    """RequestError when the gradient through time is to be cut, and the model reads no sequence step by step."""
    model, name = settings.model, settings.model.name
    if settings.fit.tbptt is None or (isinstance(model, Recurrent) and not model.bidirectional):
        return
    what = f"cuts the gradient through time, and {name} does not read step by step."
    if isinstance(model, Recurrent):
        what = f"cuts a sequence into chunks, and the state of a bidirectional {name} also comes from its end."
    raise RequestError(Problem("fit.tbptt", what, "Write null, or model=rnn, gru or lstm with bidirectional=false."))


def _search_is_free(settings: Settings) -> None:
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


def _batches_suit_batch_norm(settings: Settings, model: nn.Module, rows: int, batch_size: int) -> None:
    """RequestError when a batch of an epoch has a single row, of which batch normalization has no variance."""
    batch_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    last = rows % batch_size or batch_size
    if batch_norm and (batch_size == 1 or (last == 1 and not settings.fit.drop_last)):
        what = f"leaves a batch of one of the {rows} rows, and batch normalization needs two."
        raise RequestError(Problem("fit.batch_size", what, "Write another size, or fit.drop_last=true."))


def _forward_once(
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
