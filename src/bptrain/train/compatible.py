"""Whether a checkpoint, whoever hands it over, is one that this run can have written.

Its checksums say only that it is as it was written. torch takes up much of a state without a look at it, and kernels
rely on its shapes, so that names, shapes, dtypes, types and ranges are held against those of the run.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.config.read import LARGEST
from bptrain.train.checkpoint import BEST, FILES, MODEL, STATE, Checkpoint, Damaged
from bptrain.train.health import HealthMonitor
from bptrain.train.run import Run
from bptrain.train.state import Snapshot

EMPTY = hashlib.sha256().hexdigest()
ROOM = 2**26  # bytes that any file of a checkpoint may have, for what is no tensor
VECTORS = 8  # numbers that an optimizer keeps for each parameter, at the most
COUNTS = ("epoch", "step", "within")
STEPS = 3  # after which each optimizer keeps all that it ever keeps
WORK = "al"  # what L-BFGS uses while it makes a step, and keeps nothing in
OPEN = (f"{STATE}.optimizer.state", "progress.summary")  # mappings whose keys the start of a run does not tell
# How far the records of a run have come, as it is at the start; of metrics.jsonl the bytes and their SHA-256.
PROGRESS: dict[str, Any] = {
    "seconds": 0.0,
    "rows": 0,
    "metrics": 0,
    "digest": EMPTY,
    "lr": 0.0,
    "top": [],
    "summary": {},
}


def largest(run: Run) -> dict[str, int]:
    """Bytes that each file of a checkpoint can have at the most, so that no larger one is read."""
    tensors, optimizer = run.state.model.state_dict().values(), run.settings.optimizer
    count = sum(tensor.numel() for tensor in tensors)
    kept = 2 * getattr(optimizer, "history_size", count if optimizer.closure else 0)  # BFGS has a matrix
    return dict.fromkeys(FILES, ROOM + 8 * count * (VECTORS + kept))


def require_compatible(run: Run, made: Checkpoint) -> None:
    """Damaged where it is not."""
    snapshot, rest, steps = made.snapshot, made.snapshot.rest, run.steps_per_epoch
    own, best = run.state.model.state_dict(), made.best
    HealthMonitor(run)  # gives a state what it keeps of health
    _require_form(STATE, rest, json.loads(json.dumps(run.state.snapshot().rest)), snapshot)
    _require_form("progress", made.progress, PROGRESS, snapshot)
    _require_same(MODEL, snapshot.model, own)
    if best or rest["best"]["epoch"]:
        _require_same(BEST, best, own)
    if not all(0 <= rest[key] <= LARGEST for key in COUNTS) or rest["step"] > rest["epoch"] * steps + rest["within"]:
        raise Damaged(f"{STATE} states step {rest['step']} in epoch {rest['epoch']}, where none is.")
    if rest["within"] > steps or min(rest["left_out"]) < 0:
        raise Damaged(f"{STATE} states step {rest['within']} of an epoch that has {steps}.")
    if rest["total"] is not None and snapshot.optimizer[rest["total"]["tensor"]].numel() != 1:
        raise Damaged(f"{STATE} has a sum of losses that is no number.")
    if not (0 <= made.progress["seconds"] < math.inf and rest["scheduler"].get("steps", 0) >= 0):
        raise Damaged(f"{STATE} states a time that is none.")
    if not all(_is_entry(entry) for entry in made.progress["top"]):
        raise Damaged(f"{STATE} names best epochs that are none.")
    _require_kept(run, snapshot)


def _require_same(name: str, found: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    for key in (*own, *(key for key in found if key not in own)):
        has, needs = (_described(of.get(key)) for of in (found, own))
        if has != needs:
            raise Damaged(f"{name}: {key} is {has}, and {needs} in the model of this run.")


def _described(tensor: Tensor | None) -> str:
    return "not there" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"


def _require_form(where: str, value: Any, own: Any, snapshot: Snapshot) -> None:
    """Damaged where a value has other keys, another length or another type than the run's own at its start.

    What is None there, or an empty list, is not known yet.
    """
    if isinstance(own, dict) and own.keys() == {"tensor"}:
        own = None
    if isinstance(value, dict) and value.keys() == {"tensor"}:
        fits = value["tensor"] in snapshot.optimizer and (own is None or isinstance(own, (int, float)))
    elif isinstance(own, dict):
        fits = isinstance(value, dict) and (where in OPEN or value.keys() == own.keys())
    elif isinstance(own, list):
        fits = isinstance(value, list) and (not own or len(value) == len(own))
    elif isinstance(own, (bool, str)):
        fits = type(value) is type(own)
    elif isinstance(own, int):
        fits = type(value) is int
    else:
        fits = type(value) in (int, float) or (value is None and own is None)
    if not fits:
        raise Damaged(f"{where} is not what this run has there.")
    if isinstance(value, dict) and isinstance(own, dict):
        for key in value.keys() & own.keys():
            _require_form(f"{where}.{key}", value[key], own[key], snapshot)
    if isinstance(value, list) and own:
        for item, like in zip(value, own, strict=True):
            _require_form(where, item, like, snapshot)


def _is_entry(entry: Any) -> bool:
    """Whether it is [value, loss, epoch]; the epoch becomes part of a path."""
    return isinstance(entry, list) and [*map(type, entry[2:])] == [int] and all(type(x) in (int, float) for x in entry)


def _require_kept(run: Run, snapshot: Snapshot) -> None:
    """What the optimizer keeps for each parameter is what steps of it make there."""
    made, closure = _made(run), run.settings.optimizer.closure
    for number, entry in snapshot.rest["optimizer"]["state"].items():
        own = made.get(int(number))
        if own is None or not (entry.keys() == own.keys() or (closure and entry.keys() < own.keys())):  # at the start
            raise Damaged(f"{STATE} has a state of parameter {number} that its optimizer has not.")
        if wrong := [key for key, value in entry.items() if not _fits(value, own[key], snapshot, closure)]:
            raise Damaged(f"{wrong[0]} of the optimizer is not of its parameter's shape, or no number.")
        if len({len(value) for key, value in entry.items() if isinstance(value, list) and key != WORK}) > 1:
            raise Damaged(f"{STATE} has lists of the optimizer whose lengths differ.")


def _fits(value: Any, own: Any, snapshot: Snapshot, closure: bool) -> bool:
    """Whether a value of the optimizer's state is as its own; of one with a closure a number can be a tensor too."""
    if isinstance(own, list):
        return isinstance(value, list) and (
            not own or all(item is None or _fits(item, own[0], snapshot, closure) for item in value)
        )
    tensor = snapshot.optimizer[value["tensor"]] if isinstance(value, dict) else None
    if isinstance(own, Tensor) and (own.numel() != 1 or not closure):
        return tensor is not None and tensor.shape == own.shape
    if tensor is not None:
        return tensor.numel() == 1
    return type(value) in (int, float) or (value is None and own is None)


def _made(run: Run) -> dict[int, dict[str, Any]]:
    """What a few steps of such an optimizer keep, down a bowl with its lowest point at -1, and steep walls."""
    parameters = [nn.Parameter(p.detach().clone(), p.requires_grad) for p in run.state.model.parameters()]
    trained = [p for p in parameters if p.requires_grad]
    trial = run.settings.optimizer.build(parameters)

    def bowl() -> float:
        for p in trained:
            slopes = torch.linspace(1e3, 2e3, p.numel(), dtype=p.dtype, device=p.device)
            p.grad = (p.detach() + 1) * slopes.view_as(p)
        return sum(float(((p.detach() + 1) * p.grad).sum()) / 2 for p in trained if p.grad is not None)

    for _ in range(STEPS):
        if not run.settings.optimizer.closure:
            bowl()
        trial.step(*[bowl] * run.settings.optimizer.closure)
    return trial.state_dict()["state"]
