"""Checkpoints: a snapshot as files of tensors and text, with a checksum of each part; nothing in them is code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor

from bptrain.train.state import Snapshot

MODEL, OPTIMIZER, BEST, STATE = "model.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"
FILES = (MODEL, OPTIMIZER, BEST, STATE)


class Damaged(Exception):
    """A checkpoint is not what was written; says which part, in one sentence."""


@dataclass(frozen=True)
class Checkpoint:
    """A state, the tensors of the model that was the best so far ({} if none was), and how far the records had come."""

    snapshot: Snapshot
    best: dict[str, Tensor] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)


def write(made: Checkpoint) -> dict[str, bytes]:
    """The files of a checkpoint by name: model.safetensors, optimizer.safetensors, and state.json for the rest.

    best.safetensors only where there is a best model. `checksums` in state.json has the SHA-256 of the other files and
    of each of their tensors, and of all else in it.
    """
    snapshot = made.snapshot
    generators = {name: state.cpu().numpy().tobytes().hex() for name, state in snapshot.generators.items()}
    tensors = {MODEL: _on_cpu(snapshot.model), OPTIMIZER: _on_cpu(snapshot.optimizer)}
    if made.best:
        tensors[BEST] = _on_cpu(made.best)
    contents = {name: save(of) for name, of in tensors.items()}
    sums: dict[str, Any] = {name: {"sha256": _sha256(data)} for name, data in contents.items()}
    for name, of in tensors.items():
        sums[name]["tensors"] = {key: _sha256(_bytes(tensor)) for key, tensor in of.items()}
    state = snapshot.rest | {"progress": made.progress, "generators": generators, "checksums": sums}
    sums[STATE] = {"sha256": _sha256(_canonical(state))}
    return contents | {STATE: json.dumps(state).encode()}


def read(contents: Mapping[str, bytes]) -> Checkpoint:
    """What the files of a checkpoint hold, on the CPU. Damaged where they are not what was written."""
    try:
        return _read(contents)
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{STATE} is not that of a checkpoint.") from error


def _read(contents: Mapping[str, bytes]) -> Checkpoint:
    try:
        state = json.loads(contents[STATE])
        sums = state["checksums"]
        told = sums.pop(STATE)["sha256"]
    except KeyError as error:
        raise Damaged(f"{STATE} is missing or too large, or has no {error}.") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{STATE} is no JSON of a checkpoint.") from error
    if _sha256(_canonical(state)) != told:
        raise Damaged(f"{STATE} has changed since it was written.")
    del state["checksums"]
    generators = {name: _generator(text) for name, text in state.pop("generators").items()}
    best = _tensors(BEST, contents, sums) if BEST in sums else {}
    progress = state.pop("progress")
    snapshot = Snapshot(_tensors(MODEL, contents, sums), _tensors(OPTIMIZER, contents, sums), generators, state)
    return Checkpoint(snapshot, best, progress)


def _tensors(name: str, contents: Mapping[str, bytes], sums: Mapping[str, Any]) -> dict[str, Tensor]:
    if name not in contents:
        raise Damaged(f"{name} is missing, or larger than it can be.")
    whole = _sha256(contents[name]) == sums[name]["sha256"]
    try:
        tensors = load(contents[name])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise Damaged(f"{name} can't be read: {error}.") from error
    if not whole:
        changed = [key for key, told in sums[name]["tensors"].items() if _changed(tensors.get(key), told)]
        raise Damaged(f"{name} has changed since it was written: {', '.join(changed) or 'its header'}.")
    return tensors


def _changed(tensor: Tensor | None, told: str) -> bool:
    return tensor is None or _sha256(_bytes(tensor)) != told


def _generator(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)


def _canonical(state: dict[str, Any]) -> bytes:
    return json.dumps(state, sort_keys=True).encode()


def _sha256(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()


def _bytes(tensor: Tensor) -> Any:
    return tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b""


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors takes them: contiguous, each with memory of its own."""
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
