"""The device that a run is on."""

from __future__ import annotations

import torch

from bptrain.errors import Problem, RequestError


def device_of(name: str) -> torch.device:
    """The device of that name, for 'auto' the first accelerator there is. RequestError when this machine has none."""
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    device = torch.device(name)
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[device.type] or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise RequestError(Problem("device", f"this machine has no '{name}'.", "Write device=cpu or device=auto."))
    return device
