"""Elements written to places of a tensor: y = x, with v in the places that are picked.

Derivation. What was overwritten is gone: dx is dy with zeros in those places. v went there: dv is dy at those
places, summed over the axes along which v was repeated. Of several elements of v for one place one is kept, torch
does not say which and gives each the gradient; there is no rule for that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import sum_to

Value = Tensor | float


def numbered(x: Tensor) -> Tensor:
    """The number of each place of `x`, in its shape."""
    return torch.arange(x.numel(), device=x.device).reshape(x.shape)


def along(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """The numbers of the places that `index` names along the axis `dim`, as scatter and gather read it."""
    return numbered(x).gather(dim, index) if x.dim() else torch.zeros_like(index)


def place(x: Tensor, places: Tensor, value: Value) -> tuple[Tensor, Any]:
    """`x` with `value` (broadcast) in the numbered places. Raises TypeError where elements meet in a place."""
    row = places.reshape(-1)
    times = torch.zeros_like(numbered(x)).reshape(-1).index_add(0, row, torch.ones_like(row))
    if isinstance(value, Tensor) and row.numel() and times.max() > 1:
        raise TypeError("several elements go to one place, and torch does not say which of them is kept")
    y = x.reshape(-1).clone()
    y[row] = value.expand(places.shape).reshape(-1) if isinstance(value, Tensor) else value
    return y.reshape(x.shape), (places, value)


def place_gradients(cache: Any, dy: Tensor) -> tuple[Tensor, Any]:
    """dx and dv of `place`."""
    places, value = cache
    dx = dy.reshape(-1).clone()
    dx[places.reshape(-1)] = 0
    dvalue = sum_to(dy.reshape(-1)[places], value.shape) if isinstance(value, Tensor) else None
    return dx.reshape(dy.shape), dvalue


def add_at(x: Tensor, places: Tensor, value: Tensor) -> Tensor:
    """`x` plus `value` (broadcast) in the numbered places, where several add up."""
    y = x.reshape(-1).index_add(0, places.reshape(-1), value.expand(places.shape).reshape(-1))
    return y.reshape(x.shape)
