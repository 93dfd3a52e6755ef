"""Checkpoints: a state as files of tensors and text; nothing in them is code."""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from bptrain.train.state import State


def checkpoint(state: State) -> dict[str, bytes]:
    """The files of a checkpoint by name.

    `model.safetensors` and `optimizer.safetensors` hold the tensors; `state.json` holds all the rest, in
    which {"tensor": key} stands for a tensor of the optimizer.
    """
    tensors: dict[str, Tensor] = {}
    rest = {
        "epoch": state.epoch,
        "step": state.step,
        "best": {"value": state.best, "epoch": state.best_epoch, "step": state.best_step, "stale": state.stale},
        "optimizer": _without_tensors(state.optimizer.state_dict(), "", tensors),
        "scheduler": state.schedule.state_dict(),
        "generators": {"torch": _hex(torch.get_rng_state())} | _cuda_generator(state),
    }
    return {
        "model.safetensors": save({name: _own(tensor) for name, tensor in state.model.state_dict().items()}),
        "optimizer.safetensors": save(tensors),
        "state.json": (json.dumps(rest, indent=2) + "\n").encode(),
    }


def _without_tensors(value: Any, key: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON has it, its tensors moved into `tensors` under the path that leads to them."""
    if isinstance(value, Tensor):
        tensors[key] = _own(value)
        return {"tensor": key}
    if isinstance(value, dict):
        return {str(k): _without_tensors(v, f"{key}.{k}" if key else str(k), tensors) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_tensors(v, f"{key}.{i}", tensors) for i, v in enumerate(value)]
    return value


def _own(tensor: Tensor) -> Tensor:
    """A copy with memory of its own on the CPU: safetensors refuses tensors that share."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _hex(state: Tensor) -> str:
    return state.numpy().tobytes().hex()


def _cuda_generator(state: State) -> dict[str, str]:
    device = next(state.model.parameters()).device
    return {"cuda": _hex(torch.cuda.get_rng_state(device))} if device.type == "cuda" else {}
