"""The functions of torch.fft: see `fourier.py` for what they are and their derivation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.fourier import axes, transform, transform_gradient
from bptrain.reference.rules.indexing import Picked, pick

Lengths = Sequence[int] | None


def _signal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex64)


class Transformed(Rule, complex=True):
    """The rules that transform along axes."""

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return transform_gradient(cache, dy)


def _one(n: int | None) -> Lengths:
    return None if n is None else [n]


class FFT(Transformed, functions=[torch.fft.fft]):
    """The transform of a complex or real x along one axis."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("complex", _signal(2, 5))
        yield case("real", torch.randn(2, 6))
        yield case("cut off", _signal(5, 2), 3, 0, "ortho")
        yield case("filled up", torch.randn(2, 3), n=5, norm="forward")
        yield case("long", torch.randn(2, 72))

    @staticmethod
    def forward(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, _one(n), [dim], norm, "fft"))


class IFFT(Transformed, functions=[torch.fft.ifft]):
    """The inverse transform of a complex or real x along one axis."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return FFT.cases()

    @staticmethod
    def forward(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, _one(n), [dim], norm, "ifft"))


class RFFT(Transformed, functions=[torch.fft.rfft]):
    """The first half of the transform of a real x along one axis."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("odd", torch.randn(2, 5))
        yield case("even", torch.randn(6, 2), dim=0, norm="ortho")
        yield case("filled up", torch.randn(2, 3), 6, norm="forward")

    @staticmethod
    def forward(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, _one(n), [dim], norm, "rfft"))


class IRFFT(Transformed, functions=[torch.fft.irfft]):
    """The real signal whose transform has a given first half, along one axis; n is even unless told."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("even", _signal(2, 4))
        yield case("odd", _signal(4, 2), 7, 0, "ortho")
        yield case("cut off", _signal(2, 4), n=3, norm="forward")
        yield case("filled up", _signal(2, 2), 6)
        yield case("real", torch.randn(2, 3))

    @staticmethod
    def forward(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, _one(n), [dim], norm, "irfft"))


class FFTN(Transformed, functions=[torch.fft.fftn]):
    """The transform along several axes: all, or the last ones of which `s` tells the lengths."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", torch.randn(2, 3, 4))
        yield case("lengths", _signal(2, 3, 4), (2, -1), norm="ortho")
        yield case("axes", _signal(2, 3, 4), dim=(0, -1))

    @staticmethod
    def forward(input: Tensor, s: Lengths = None, dim: Lengths = None, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, s, dim, norm, "fft"))


class IFFTN(Transformed, functions=[torch.fft.ifftn]):
    """The inverse transform along several axes."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return FFTN.cases()

    @staticmethod
    def forward(input: Tensor, s: Lengths = None, dim: Lengths = None, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, s, dim, norm, "ifft"))


class RFFTN(Transformed, functions=[torch.fft.rfftn]):
    """The transform of a real x along several axes, with the first half of the last one."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", torch.randn(2, 3, 4))
        yield case("lengths", torch.randn(2, 3, 4), (2, 5), norm="ortho")
        yield case("axes", torch.randn(2, 3, 4), dim=(2, 0), norm="forward")

    @staticmethod
    def forward(input: Tensor, s: Lengths = None, dim: Lengths = None, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, s, dim, norm, "rfft"))


class IRFFTN(Transformed, functions=[torch.fft.irfftn]):
    """The real x of which the rfftn is given."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", _signal(2, 3, 4))
        yield case("lengths", _signal(2, 3, 4), (2, 5), norm="ortho")
        yield case("axes", _signal(2, 3, 4), dim=(2, 0), norm="forward")

    @staticmethod
    def forward(input: Tensor, s: Lengths = None, dim: Lengths = None, norm: str | None = None) -> tuple[Tensor, Any]:
        return transform(input, axes(input, s, dim, norm, "irfft"))


class FFT2(Transformed, functions=[torch.fft.fft2]):
    """fftn along the last two axes."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("images", torch.randn(2, 3, 4))
        yield case("lengths", _signal(3, 4), (2, 5), (1, 0), "ortho")

    @staticmethod
    def forward(
        input: Tensor, s: Lengths = None, dim: Sequence[int] = (-2, -1), norm: str | None = None
    ) -> tuple[Tensor, Any]:
        return FFTN.forward(input, s, dim, norm)


class IFFT2(Transformed, functions=[torch.fft.ifft2]):
    """ifftn along the last two axes."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return FFT2.cases()

    @staticmethod
    def forward(
        input: Tensor, s: Lengths = None, dim: Sequence[int] = (-2, -1), norm: str | None = None
    ) -> tuple[Tensor, Any]:
        return IFFTN.forward(input, s, dim, norm)


class RFFT2(Transformed, functions=[torch.fft.rfft2]):
    """rfftn along the last two axes."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("images", torch.randn(2, 3, 4))
        yield case("lengths", torch.randn(3, 4), (2, 5), (1, 0), "ortho")

    @staticmethod
    def forward(
        input: Tensor, s: Lengths = None, dim: Sequence[int] = (-2, -1), norm: str | None = None
    ) -> tuple[Tensor, Any]:
        return RFFTN.forward(input, s, dim, norm)


class IRFFT2(Transformed, functions=[torch.fft.irfft2]):
    """irfftn along the last two axes."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("images", _signal(2, 3, 3))
        yield case("lengths", _signal(3, 4), (2, 5), (1, 0), "ortho")

    @staticmethod
    def forward(
        input: Tensor, s: Lengths = None, dim: Sequence[int] = (-2, -1), norm: str | None = None
    ) -> tuple[Tensor, Any]:
        return IRFFTN.forward(input, s, dim, norm)


class FFTShift(Picked, functions=[torch.fft.fftshift]):
    """y = x shifted in a circle by half its length along each axis, so that the frequency 0 is in the middle."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("all", torch.randn(3, 4))
        yield case("one axis", torch.randn(3, 4), 0)

    @staticmethod
    def forward(input: Tensor, dim: Any = None) -> tuple[Tensor, Any]:
        along = range(input.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
        return pick(input, lambda places: places.roll([input.shape[d] // 2 for d in along], list(along)))


class IFFTShift(Picked, functions=[torch.fft.ifftshift]):
    """y = x shifted back, so that ifftshift(fftshift(x)) = x."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return FFTShift.cases()

    @staticmethod
    def forward(input: Tensor, dim: Any = None) -> tuple[Tensor, Any]:
        along = range(input.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
        return pick(input, lambda places: places.roll([-(input.shape[d] // 2) for d in along], list(along)))
