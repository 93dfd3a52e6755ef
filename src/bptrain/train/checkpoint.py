"""Checkpoints: a snapshot as files of tensors and text; nothing in them is code."""

from __future__ import annotations

import json

from safetensors.torch import save
from torch import Tensor

from bptrain.train.state import Snapshot


def checkpoint(snapshot: Snapshot) -> dict[str, bytes]:
    """The files of a checkpoint by name: model.safetensors, optimizer.safetensors, and state.json for the rest."""
    generators = {name: state.cpu().numpy().tobytes().hex() for name, state in snapshot.generators.items()}
    return {
        "model.safetensors": save(_on_cpu(snapshot.model)),
        "optimizer.safetensors": save(_on_cpu(snapshot.optimizer)),
        "state.json": json.dumps(snapshot.rest | {"generators": generators}).encode(),
    }


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors takes them: contiguous, each with memory of its own."""
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
