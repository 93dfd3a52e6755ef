"""Run: settings turned into data, network, loss and optimizer, before anything is written or trained."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from bptrain.config.settings import Settings
from bptrain.data.dataset import Dataset
from bptrain.errors import Problem, RequestError
from bptrain.metrics import Metric, Mode, chosen, metrics_for, monitored
from bptrain.train.choice import engine_of
from bptrain.train.device import device_of
from bptrain.train.distributed import Ranks, ranks_of
from bptrain.train.division import divide, divisible
from bptrain.train.engine import Engine
from bptrain.train.layout import channels_last
from bptrain.train.parallel import Parallel
from bptrain.train.precision import casts, dtype, multiply
from bptrain.train.requirements import (
    batches_add_up,
    batches_suit_batch_norm,
    forward_once,
    goes_back_alone,
    graph_has_a_gpu,
    search_is_free,
    truncates,
)
from bptrain.train.state import State

if TYPE_CHECKING:
    from bptrain.train.sharded import Unsharded


@dataclass
class Run:
    """All parts of a run, the data on the device.

    `batch_size` is all rows for a full-batch optimizer; model and loss are run inside `casts`. `ranks` are the
    processes that train it together, None for one alone; a network that is `drawing` draws at random in each of them,
    and `unsharded` gives the whole of one that is divided among them.
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
    ranks: Ranks | None = None
    drawing: bool = False
    unsharded: Unsharded | None = None

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
    torch.use_deterministic_algorithms(settings.fit.deterministic)
    device, number, ranks = device_of(settings.device), dtype(settings.precision), ranks_of(settings)
    dataset = settings.model.prepared(settings.data.load(settings.seed) if dataset is None else dataset)
    torch.manual_seed(settings.seed)
    random.seed(settings.seed)  # for code of the user's own; bptrain draws from neither
    np.random.seed(settings.seed % 2**32)
    problems: list[Problem] = []
    with _collected(problems):
        multiply(settings.precision, device)
    with _collected(problems):
        graph_has_a_gpu(settings, device)
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
        batches_add_up(settings, dataset, divided=ranks is not None)
    with _collected(problems):
        if ranks is not None:
            divisible(settings)
    with _collected(problems):
        if ranks is not None:
            goes_back_alone(settings)
    with _collected(problems):
        search_is_free(settings)
    with _collected(problems):
        truncates(settings)
    if problems:
        raise RequestError(problems)
    if ranks is None or (ranks.size == 1 and not ranks.sharded):  # what is divided must be contiguous
        channels_last(model, device, settings.precision)
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
    batches_suit_batch_norm(settings, model, rows, batch_size, ranks.size if ranks is not None else 1)
    forward_once(model, loss, dataset, metrics, settings.loss.output_shape(dataset))
    division = divide(model, loss, parts["train"]) if ranks is not None else None
    unsharded = ranks.shard(model, device) if ranks is not None and ranks.sharded else None
    optimizer = settings.optimizer.build(model.parameters())
    per_epoch = _steps_per_epoch(settings, rows, batch_size)
    schedule = settings.scheduler.build(optimizer, settings.fit.epochs * per_epoch, per_epoch)
    state = State(model, optimizer, schedule)
    inside = casts(settings.precision, device)
    engine: Engine
    if ranks is not None and division is not None:
        ranks.seed(settings.seed)
        engine = Parallel(state, loss, parts["train"], settings.fit.clip, inside, ranks, division)
    else:
        engine = engine_of(settings, state, loss, parts["train"], inside, settings.fit.epochs * per_epoch)
    return Run(
        settings,
        dataset,
        loss,
        state,
        engine,
        metrics,
        monitor,
        mode,
        device,
        batch_size,
        inside,
        ranks,
        division is not None and division.drawing,
        unsharded,
    )


@contextmanager
def _collected(problems: list[Problem]) -> Iterator[None]:
    """Puts the problems of a RequestError with the others."""
    try:
        yield
    except RequestError as error:
        problems += error.problems


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
