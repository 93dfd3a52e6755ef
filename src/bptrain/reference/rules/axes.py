"""At least one, two or three axes: each dx is dy in the shape of x."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


class AtLeast(Rule):
    """The rules that reshape one tensor, or several, or the tensors of a list."""

    @staticmethod
    def of(given: tuple[Any, ...], shaped: Callable[[Tensor], Tensor]) -> tuple[Any, Any]:
        as_one = not isinstance(given[0], Tensor)
        tensors = given[0] if as_one else given
        y = tuple(shaped(t) for t in tensors)
        single = len(given) == 1 and not as_one
        return (y[0] if single else y), (as_one, single, [t.shape for t in tensors])

    @staticmethod
    def backward(cache: Any, dy: Any) -> tuple[list[Any]]:
        as_one, single, shapes = cache
        gradients = [g.reshape(shape) for g, shape in zip([dy] if single else dy, shapes, strict=True)]
        return ([gradients] if as_one else gradients,)


class AtLeast1d(AtLeast, functions=[torch.atleast_1d]):
    """y = x, a scalar as (1)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("one", torch.randn(()))
        yield case("several", torch.randn(()), torch.randn(2))
        yield case("list", [torch.randn(()), torch.randn(2, 3)])

    @staticmethod
    def forward(*tensors: Any) -> tuple[Any, Any]:
        return AtLeast.of(tensors, lambda t: t if t.dim() else t.reshape(1))


class AtLeast2d(AtLeast, functions=[torch.atleast_2d]):
    """y = x, a vector as a row."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("one", torch.randn(3))
        yield case("several", torch.randn(()), torch.randn(2, 3))

    @staticmethod
    def forward(*tensors: Any) -> tuple[Any, Any]:
        return AtLeast.of(tensors, lambda t: t if t.dim() > 1 else t.reshape(1, -1))


class AtLeast3d(AtLeast, functions=[torch.atleast_3d]):
    """y = x, a vector as (1, n, 1) and a matrix as (m, n, 1)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("one", torch.randn(3))
        yield case("several", torch.randn(()), torch.randn(2, 3), torch.randn(2, 1, 2))

    @staticmethod
    def forward(*tensors: Any) -> tuple[Any, Any]:
        return AtLeast.of(
            tensors, lambda t: t if t.dim() > 2 else t[..., None] if t.dim() == 2 else t.reshape(1, -1, 1)
        )
