"""Promotion: a forward pass that runs in float64 whatever dtypes it names or brings along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from bptrain.reference.dtype import cast
from bptrain.reference.effect import is_size

_COARSE = (torch.float16, torch.bfloat16, torch.float32)
_COARSE_COMPLEX = (torch.complex32, torch.complex64)
_CASTS = (Tensor.float, Tensor.half, Tensor.bfloat16)


class _Promote(TorchFunctionMode):
    """Every dtype that a call names, and every floating tensor that it gets, becomes float64."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in _CASTS:
            func = Tensor.double
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") not in ("__get__", "__set__"):
            flat, spec = tree_flatten((args, kwargs), is_leaf=is_size)
            args, kwargs = tree_unflatten([_promoted(x) for x in flat], spec)
        return func(*args, **kwargs)


def _promoted(x: Any) -> Any:
    if isinstance(x, Tensor):
        return cast(x, torch.float64) if x.dtype in _COARSE + _COARSE_COMPLEX else x
    if isinstance(x, torch.dtype) and x in _COARSE + _COARSE_COMPLEX:
        return torch.float64 if x in _COARSE else torch.complex128
    return x


@contextmanager
def promoted() -> Iterator[None]:
    """Inside, torch computes in float64: also what is made there, closed over, or cast down on the way."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Promote():
            yield
    finally:
        torch.set_default_dtype(before)
