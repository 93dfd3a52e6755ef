"""Copies, other dtypes, other devices: y = x, so dx = dy.

A cast between floating dtypes rounds, which is no part of the mathematics: the reference goes through one
dtype from end to end, so that a cast leaves x as it is. A cast to or from integers has no gradient and no rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.dtype import is_continuous
from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.complex_number import real
from bptrain.reference.rules.fourier import as_complex

COPIES = [torch.clone, Tensor.clone, Tensor.contiguous, torch.positive, Tensor.positive, torch.alias_copy]
EXACT = torch.tensor([[0.5, -1.25, 2.0], [3.0, 0.0, -0.75]])  # in every floating dtype


class Copy(Rule, functions=COPIES, complex=True):
    """y = x, in the same or another memory format. Derivation. dx = dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", EXACT)
        yield case("format", EXACT, memory_format=torch.contiguous_format)

    @staticmethod
    def forward(input: Tensor, memory_format: torch.memory_format | None = None) -> tuple[Tensor, Any]:
        return input.clone(), None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy


class Cast(Rule, functions=[Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16]):
    """y = x in a floating dtype. Derivation. dx = dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", EXACT)
        yield case("format", EXACT, memory_format=torch.contiguous_format)

    @staticmethod
    def forward(input: Tensor, memory_format: torch.memory_format | None = None) -> tuple[Tensor, Any]:
        if not input.is_floating_point():
            raise TypeError("a cast from integers has no gradient")
        return Copy.forward(input)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy


class To(Rule, functions=[Tensor.to, Tensor.type_as, Tensor.cuda], complex=True):
    """y = x on another device, or in another dtype. Derivation. dx = dy, back on the device of x.

    A real x may become complex, x + 0 i: dx is the real part of dy.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("other tensor", EXACT, torch.ones(1), function=Tensor.to)
        yield case("other tensor", EXACT, torch.ones(1), function=Tensor.type_as)
        yield case("dtype", EXACT, torch.float16, function=Tensor.to)
        yield case("device", EXACT, "cpu", function=Tensor.to)
        yield case("complex", torch.complex(EXACT, EXACT), torch.complex64, function=Tensor.to)
        yield case("real to complex", EXACT, torch.complex64, function=Tensor.to)
        yield case("by name", EXACT, device=torch.device("cpu"), dtype=torch.bfloat16, copy=True, function=Tensor.to)

    @staticmethod
    def forward(
        input: Tensor,
        *target: Any,
        device: Any = None,
        dtype: torch.dtype | None = None,
        other: Tensor | None = None,
        non_blocking: bool = False,
        copy: bool = False,
        memory_format: torch.memory_format | None = None,
    ) -> tuple[Tensor, Any]:
        if not target and device is None and dtype is None and other is None:
            device = "cuda"  # x.cuda() alone has no target
        for given in (*target[:2], other):  # what may follow is `non_blocking` and `copy`
            if isinstance(given, Tensor):
                device, dtype = given.device, given.dtype
            elif isinstance(given, torch.dtype):
                dtype = given
            elif isinstance(given, (str, int, torch.device)) and not isinstance(given, bool):
                device = given
        made = input.dtype if dtype is None else dtype
        if not (is_continuous(input) and (made.is_floating_point or made.is_complex)):
            raise TypeError("a cast to or from integers has no gradient")
        if input.is_complex() and not made.is_complex:
            raise TypeError("a cast that leaves out the imaginary part")
        y = input.to(device=device, copy=True)
        return (as_complex(y) if made.is_complex else y), input

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return (dy if cache.is_complex() else real(dy)).to(cache.device)


class Cpu(Rule, functions=[Tensor.cpu], complex=True):
    """y = x in the memory of the processor. Derivation. dx = dy, back on the device of x."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", EXACT)

    @staticmethod
    def forward(input: Tensor, memory_format: torch.memory_format | None = None) -> tuple[Tensor, Any]:
        return To.forward(input, "cpu")

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return To.backward(cache, dy)


class ToComplex(Rule, functions=[Tensor.cdouble], complex=True):  # type: ignore[attr-defined]
    """y = x + 0 i, or x itself if it is complex. Derivation. dx = dy, the real part of it for a real x."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("real", EXACT)
        yield case("complex", torch.complex(EXACT, EXACT))

    @staticmethod
    def forward(input: Tensor, memory_format: torch.memory_format | None = None) -> tuple[Tensor, Any]:
        return To.forward(input, dtype=torch.complex128)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return To.backward(cache, dy)


class Type(Rule, functions=[Tensor.type], complex=True):
    """y = x in another floating or complex dtype, which is not named by a string. Derivation. dx = dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("dtype", EXACT, torch.float16)

    @staticmethod
    def forward(input: Tensor, dtype: Any, non_blocking: bool = False) -> tuple[Tensor, Any]:
        if not isinstance(dtype, torch.dtype):
            raise TypeError("a type of tensor instead of a dtype")
        return To.forward(input, dtype=dtype)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return To.backward(cache, dy)
