"""Reproduce: a run made again from its lock alone, and whether it is the same to the bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from bptrain.errors import WIDEST, Problem, RequestError, shortened
from bptrain.runs.directory import RunDirectory
from bptrain.train.checkpoint import FILES, Checkpoint, Damaged, read

LARGEST = 2**28  # bytes of metrics.jsonl
ROOM = 2**20  # bytes by which a file of a checkpoint may be larger than the same of the run made again
TIMES = ("seconds",)  # what no run has twice


def difference(before: RunDirectory, now: RunDirectory) -> str:
    """The first step and the first tensor in which two runs differ, and by how much; '' where they are the same.

    RequestError where the first has left nothing that can be compared.
    """
    found = [text for of in (_metrics, _tensors) if (text := next(of(before, now), ""))]
    return " ".join(found)


def _metrics(before: RunDirectory, now: RunDirectory) -> Iterator[str]:
    """What differs in their metrics, line by line."""
    for a, b in zip_longest(_lines(before), _lines(now)):
        if a is None or b is None:
            yield f"From step {(a or b)['step']} on one of them has lines of metrics that the other has not."
            return
        for key in (*a, *(key for key in b if key not in a)):
            if a.get(key) != b.get(key):
                was, is_ = a.get(key), b.get(key)
                text = f"Step {a['step']}: the {a['split']} {key} was {was}, and is {is_}{_by(was, is_)}."
                yield shortened(text, WIDEST)


def _tensors(before: RunDirectory, now: RunDirectory) -> Iterator[str]:
    """What differs in their last checkpoints, tensor by tensor."""
    place = now.path / "checkpoints" / "last"
    largest = {name: ROOM + ((place / name).stat().st_size if (place / name).exists() else 0) for name in FILES}
    (old, new) = (_last(directory, largest) for directory in (before, now))
    steps = [of.snapshot.rest["step"] for of in (old, new)]
    if steps[0] != steps[1]:
        yield f"The last checkpoint was of step {steps[0]}, and is of step {steps[1]}."
        return
    for kind in ("model", "optimizer", "generators"):
        mine, theirs = (getattr(of.snapshot, kind) for of in (old, new))
        for name in (*mine, *(name for name in theirs if name not in mine)):
            if text := _apart(mine.get(name), theirs.get(name)):
                yield f"After step {steps[0]}: {name} ({kind}) {text}."


def _apart(mine: Tensor | None, theirs: Tensor | None) -> str:
    if mine is None or theirs is None:
        return "is in one of them alone"
    if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
        return f"was {mine.dtype} {tuple(mine.shape)}, and is {theirs.dtype} {tuple(theirs.shape)}"
    same = mine.view(-1).view(torch.uint8), theirs.view(-1).view(torch.uint8)
    if not mine.numel() or torch.equal(*same):
        return ""
    if not mine.is_floating_point():
        return "differs"
    away = (mine.double() - theirs.double()).abs()
    return f"differs by {away.max().item():.3g} in {int((away != 0).sum())} of {away.numel()} elements"


def _by(a: Any, b: Any) -> str:
    return f" (by {abs(a - b):.3g})" if isinstance(a, float) and isinstance(b, float) else ""


def _lines(directory: RunDirectory) -> list[dict[str, Any]]:
    path = directory.path / "metrics.jsonl"
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise ValueError("no file, or one that is too large")
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not all(type(line["step"]) is int and isinstance(line["split"], str) for line in lines):
            raise ValueError("another line")
        return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
    except (OSError, ValueError, AttributeError, LookupError, TypeError, RecursionError) as error:
        what = "has no metrics.jsonl that can be read."
        raise RequestError(Problem(str(directory.path), what, "Name a run that has finished.")) from error


def _last(directory: RunDirectory, largest: dict[str, int]) -> Checkpoint:
    for folder, contents in directory.read_checkpoints("last", largest):
        try:
            return read(contents)
        except Damaged as error:
            raise RequestError(Problem(str(folder), str(error), "Name a run that is whole.")) from error
    raise RequestError(Problem(str(directory.path), "has no last checkpoint.", "Name a run that has finished."))
