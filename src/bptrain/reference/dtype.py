"""Tensors that have a gradient, real or complex ones, in another precision."""

from __future__ import annotations

import torch
from torch import Tensor


def is_continuous(tensor: Tensor) -> bool:
    """Whether a tensor can have a gradient: not one of integers, booleans and the like."""
    return tensor.is_floating_point() or tensor.is_complex()


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of a tensor in the floating `dtype`, a complex one in parts of that; integers and the like as they are."""
    if tensor.is_complex():
        return tensor.to(dtype.to_complex(), copy=True)
    return tensor.to(dtype, copy=True) if tensor.is_floating_point() else tensor.clone()


def as_real(tensor: Tensor) -> Tensor:
    """A complex tensor as (..., 2), real and imaginary parts; a real one as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def inner(a: Tensor, b: Tensor) -> float:
    """The sum of the products of all elements, real and imaginary parts apart: <dL/dx, d> is the slope of L along d."""
    return (as_real(a) * as_real(b)).sum().item()
