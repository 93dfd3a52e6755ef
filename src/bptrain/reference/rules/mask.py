"""Elements kept or replaced as a mask says: only the tensor that an element came from gets its gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.arithmetic import Operand, to_operand


class Where(Rule, functions=[torch.where], complex=True):
    """y = a where `condition` is true, else b. Derivation. da = dy where it is true, db = dy where not."""

    @staticmethod
    def cases() -> Iterable[Case]:
        condition = torch.tensor([[True, False, True], [False, False, True]])
        yield case("broadcast", condition, torch.randn(2, 3), torch.randn(4, 1, 1))
        yield case("number right", condition, torch.randn(3), -1.5)
        yield case("number left", condition, 2, torch.randn(3))
        yield case("by name", condition, input=torch.randn(3), other=torch.randn(2, 1))
        yield case(
            "complex", condition, torch.randn(3, dtype=torch.complex64), torch.randn(2, 1, dtype=torch.complex64)
        )

    @staticmethod
    def forward(condition: Tensor, input: Operand, other: Operand) -> tuple[Tensor, Any]:
        return torch.where(condition, input, other), (condition, input, other)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        condition, input, other = cache
        return (
            None,
            to_operand(torch.where(condition, dy, 0), input),
            to_operand(torch.where(condition, 0, dy), other),
        )


class TensorWhere(Rule, functions=[Tensor.where], complex=True):
    """x.where(condition, b): torch.where with x first. Derivation. As for `Where`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast", torch.randn(2, 3), torch.tensor([True, False, True]), torch.randn(4, 1, 1))
        yield case("number", torch.randn(3), torch.tensor([[True], [False]]), 0)

    @staticmethod
    def forward(input: Tensor, condition: Tensor, other: Operand) -> tuple[Tensor, Any]:
        return Where.forward(condition, input, other)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        _, dinput, dother = Where.backward(cache, dy)
        return dinput, None, dother


class MaskedFill(Rule, functions=[torch.masked_fill, Tensor.masked_fill, Tensor.masked_fill_], complex=True):
    """y = one value where `mask` is true, else x. Derivation. dx = dy where not; dvalue = the sum of dy where true."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast mask", torch.randn(2, 3), torch.tensor([True, False, True]), -4.0)
        yield case("tensor", torch.randn(2, 3), torch.tensor([True, False, True]), torch.tensor(0.5))
        yield case(
            "broadcast x", torch.randn(3), torch.tensor([[True], [False]]), value=2.0, function=torch.masked_fill
        )

    @staticmethod
    def forward(input: Tensor, mask: Tensor, value: Operand) -> tuple[Tensor, Any]:
        return Where.forward(mask, value, input)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        _, dvalue, dinput = Where.backward(cache, dy)
        return dinput, None, dvalue


class Tril(Rule, functions=[torch.tril, Tensor.tril, Tensor.tril_]):
    """y = x on and below a diagonal of each matrix, 0 above it. Derivation. dx = dy there, else 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("main", torch.randn(3, 4))
        yield case("below", torch.randn(2, 3, 3), -1)
        yield case("above", torch.randn(2, 3), diagonal=1)

    @staticmethod
    def forward(input: Tensor, diagonal: int = 0) -> tuple[Tensor, Any]:
        row, column = (torch.arange(n, device=input.device) for n in input.shape[-2:])
        kept = column <= row[:, None] + diagonal
        return torch.where(kept, input, torch.zeros_like(input)), kept

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return torch.where(cache, dy, 0)


class Triu(Rule, functions=[torch.triu, Tensor.triu, Tensor.triu_]):
    """y = x on and above a diagonal of each matrix, 0 below it. Derivation. dx = dy there, else 0."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return Tril.cases()

    @staticmethod
    def forward(input: Tensor, diagonal: int = 0) -> tuple[Tensor, Any]:
        row, column = (torch.arange(n, device=input.device) for n in input.shape[-2:])
        kept = column >= row[:, None] + diagonal
        return torch.where(kept, input, torch.zeros_like(input)), kept

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return torch.where(cache, dy, 0)
