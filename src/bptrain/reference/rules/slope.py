"""Functions of one tensor, element by element: y_i = f(x_i), so dx_i = dy_i f'(x_i)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Rule


class Sloped(Rule):
    """The rules whose forward leaves the slope f'(x) in the cache."""

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy * cache


def spellings(*names: str, in_place: bool = True) -> list[Callable]:
    """The functions called so in torch and torch.special and the methods of a tensor, with their forms in place."""
    every = [*names, *(f"{name}_" for name in names if in_place)]
    owners = (torch, Tensor, torch.special)
    return list(dict.fromkeys(getattr(owner, name) for name in every for owner in owners if hasattr(owner, name)))
