"""Division: what must hold of a run whose batches are divided among processes by their rows."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from bptrain.config.settings import Settings
from bptrain.data.dataset import Part
from bptrain.errors import Problem, RequestError
from bptrain.reference.draws import Draws, kept
from bptrain.train.batch_norm import arguments

ALONE = "Start it without torchrun."
TOLERANCE = 1e-3  # by which a row's output may differ when other rows are beside it: rounding alone


@dataclass(frozen=True)
class Division:
    """What a network does in training: takes statistics of a batch, draws at random, leaves parameters unused."""

    normalizing: bool
    drawing: bool
    unused: bool


def divisible(settings: Settings) -> None:
    """RequestError when a step of such settings can't be divided."""
    optimizer, loss, engine, problems = settings.optimizer, settings.loss, settings.fit.engine, []
    if optimizer.closure:
        what = f"{optimizer.name} evaluates the loss itself, as often as it wants, and processes step together."
        problems.append(Problem("optimizer", what, f"{ALONE[:-1]}, or write optimizer=adam."))
    if loss.full_batch:
        what = f"{loss.name} is no mean over rows, by which processes divide a batch."
        problems.append(Problem("loss", what, ALONE))
    if settings.fit.strategy == "fsdp" and optimizer.name in ("adafactor", "rprop"):
        what = f"shards parameters, and torch's {optimizer.name} can't step on shards."
        problems.append(Problem("fit.strategy", what, "Write fit.strategy=ddp, or another optimizer."))
    if engine != "eager":
        what = f"{engine} makes one program of a step, and several processes make it together."
        problems.append(Problem("fit.engine", what, "Write fit.engine=eager."))
    if problems:
        raise RequestError(problems)


def divide(model: nn.Module, loss: nn.Module, part: Part) -> Division:
    """What matters of a network for its division, tried on a few rows; it and torch's generators stay as they are.

    RequestError when what it makes of a row depends on the other rows of its batch.
    """
    if hasattr(model, "condition"):
        what = "takes in the whole training part, and can't be divided by its rows."
        raise RequestError(Problem("model", what, ALONE))
    rows = torch.arange(4, device=part.targets.device) % len(part)
    with kept():
        shared = {id(p): p for p in model.parameters()}  # which a forward pass leaves as they are
        _rows_are_apart(copy.deepcopy(model, dict(shared)).eval(), part, rows)
        before, copies = Draws.now(), [copy.deepcopy(model, dict(shared)) for _ in range(2)]
        with _Watched() as watched:
            values = [
                loss(one(part.inputs.index_select(0, some)), part.targets.index_select(0, some))
                for one, some in zip(copies, rows.split(2), strict=True)
            ]
        drawing = _moved(before)
    trained = [p for p in copies[0].parameters() if p.requires_grad]
    gradients = torch.autograd.grad(values[0], trained, allow_unused=True)
    for (name, a), (_, b) in zip(*(one.named_buffers() for one in copies), strict=True):
        if not {id(a), id(b)} & watched.statistics and not torch.equal(a, b):
            what = f"keeps {name}, which depends on the rows of a batch, and each process has rows of its own."
            raise RequestError(Problem("model", what, ALONE))
    return Division(watched.normalizing, drawing, any(g is None for g in gradients))


@torch.no_grad()
def _rows_are_apart(model: nn.Module, part: Part, rows: Tensor) -> None:
    before = Draws.now()
    y, *halves = (tree_flatten(model(part.inputs.index_select(0, some)))[0] for some in (rows, *rows.split(2)))
    if _moved(before):
        return  # what it gives differs each time
    for whole, *parts in zip(y, *halves, strict=True):
        again = torch.cat(parts)
        if not torch.allclose(whole, again, TOLERANCE, TOLERANCE * whole.abs().amax().item(), equal_nan=True):
            what = "gives outputs that depend on the other rows of a batch, and each process has rows of its own."
            raise RequestError(Problem("model", what, ALONE))


def _moved(before: Draws) -> bool:
    now = Draws.now()
    return any(not torch.equal(a, b) for a, b in zip((before.cpu, *before.cuda), (now.cpu, *now.cuda), strict=True))


class _Watched(TorchFunctionMode):
    """Notes the statistics that batch normalization keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.normalizing, self.statistics = False, set[int]()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = arguments(*args, **(kwargs or {})) if function is F.batch_norm else {}
        if given.get("training"):
            self.normalizing = True
            self.statistics |= {id(given["running_mean"]), id(given["running_var"])}
        return function(*args, **(kwargs or {}))
