"""Traceable: a forward pass that does nothing which a trace of it would miss."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bptrain.train.program import Untraceable

VIEWS = ("_flat_weights", "_flat_weight_refs")  # in which recurrent networks of torch keep their parameters once more
PLAIN = (int, float, complex, str, bytes, type(None))


class _Unpacked(TorchFunctionMode):
    """Inside, no sequences are packed: on tensors without data that goes wrong without a word."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch._VF._pack_padded_sequence:
            raise Untraceable("it packs sequences by their lengths, which are values of its inputs")
        return function(*args, **(kwargs or {}))


@contextmanager
def traceable(network: nn.Module) -> Iterator[None]:
    """Untraceable when what runs inside draws random numbers of Python or NumPy, or changes what modules keep.

    A program would have these as constants. Buffers may be changed; and afterwards generators are where they were,
    and attributes what they were.
    """
    hooked = (name for name, p in network.named_parameters() if p._backward_hooks or p._post_accumulate_grad_hooks)
    for name in hooked:
        raise Untraceable(f"a hook changes the gradient of {name}")
    python, numpy = random.getstate(), np.random.get_state()
    kept = {module: dict(vars(module)) for module in network.modules()}
    marks = {module: _marks(module) for module in kept}
    try:
        with _Unpacked():
            yield
        drew = random.getstate() != python or repr(np.random.get_state()) != repr(numpy)
        changed = [(module, key) for module, old in marks.items() for key, _ in _marks(module) ^ old]
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for module, attributes in kept.items():
            vars(module).clear()
            vars(module).update(attributes)
    if drew:
        raise Untraceable("it draws random numbers of Python or NumPy, and only those of torch can be handed to it")
    for module, key in changed:
        raise Untraceable(f"its forward pass changes the attribute {key} of {type(module).__name__}")


def _marks(module: nn.Module) -> set[tuple[str, Any]]:
    return {(key, _mark(value)) for key, value in vars(module).items() if key not in VIEWS}


def _mark(value: Any, deep: bool = True) -> Any:
    """What differs once a value has been changed or replaced."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return id(value), value._version
    if deep and isinstance(value, (list, tuple, set, dict, deque)):
        return tuple(_mark(v, False) for v in (value.values() if isinstance(value, dict) else value))
    return id(value)
