"""The functions of torch.fft for signals with z_{-t} = conj(z_t), whose transform is real: see `fourier.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case
from bptrain.reference.rules.fourier import axes, transform
from bptrain.reference.rules.spectrum import IRFFT, IRFFT2, IRFFTN, RFFT, RFFT2, RFFTN, Lengths, Transformed


class HFFT(Transformed, functions=[torch.fft.hfft]):
    """The real transform of a signal of which the first half is given, along one axis; n is even unless told."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return IRFFT.cases()

    @staticmethod
    def forward(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, None if n is None else [n], [dim], norm, "hfft"))


class IHFFT(Transformed, functions=[torch.fft.ihfft]):
    """The first half of the signal whose transform is a real x, along one axis."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return RFFT.cases()

    @staticmethod
    def forward(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, None if n is None else [n], [dim], norm, "ihfft"))


class HFFTN(Transformed, functions=[torch.fft.hfftn]):
    """fftn with hfft along the last axis."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return IRFFTN.cases()

    @staticmethod
    def forward(input: Tensor, s: Lengths = None, dim: Lengths = None, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, s, dim, norm, "hfft"))


class IHFFTN(Transformed, functions=[torch.fft.ihfftn]):
    """ihfft along the last axis and ifftn."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return RFFTN.cases()

    @staticmethod
    def forward(input: Tensor, s: Lengths = None, dim: Lengths = None, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, s, dim, norm, "ihfft"))


class HFFT2(Transformed, functions=[torch.fft.hfft2]):
    """hfftn along the last two axes."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return IRFFT2.cases()

    @staticmethod
    def forward(
        input: Tensor, s: Lengths = None, dim: Sequence[int] = (-2, -1), norm: str | None = None
    ) -> tuple[Tensor, Any]:
        return HFFTN.forward(input, s, dim, norm)


class IHFFT2(Transformed, functions=[torch.fft.ihfft2]):
    """ihfftn along the last two axes."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return RFFT2.cases()

    @staticmethod
    def forward(
        input: Tensor, s: Lengths = None, dim: Sequence[int] = (-2, -1), norm: str | None = None
    ) -> tuple[Tensor, Any]:
        return IHFFTN.forward(input, s, dim, norm)
