"""Complex numbers z = a + i b: made of real ones, taken apart, conjugated.

torch's gradient of z is dz = dL/da + i dL/db, see `Rule`. So the gradients of real and imaginary part are those of dz.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to

Z = torch.tensor([[0.5 - 1.5j, 2.0 + 0.3j, -1.0 + 0.2j]])


def compose(real: Tensor, imaginary: Tensor) -> Tensor:
    """a + i b, after both are broadcast."""
    return torch.view_as_complex(torch.stack(torch.broadcast_tensors(real, imaginary), -1))


def real(z: Tensor) -> Tensor:
    return torch.view_as_real(z.resolve_conj())[..., 0] if z.is_complex() else z


def imaginary(z: Tensor) -> Tensor:
    return torch.view_as_real(z.resolve_conj())[..., 1]


class ViewAsReal(Rule, functions=[torch.view_as_real, torch.view_as_real_copy], complex=True):
    """y = (a, b) along a new last axis. Derivation. dz = da + i db."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", Z)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return torch.view_as_real(input), None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return compose(dy[..., 0], dy[..., 1])


class ViewAsComplex(Rule, functions=[torch.view_as_complex], complex=True):
    """y = a + i b, from a and b along the last axis. Derivation. da and db are the parts of dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(2, 3, 2))

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return compose(input[..., 0], input[..., 1]), None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return torch.stack([real(dy), imaginary(dy)], -1)


class Complex(Rule, functions=[torch.complex], complex=True):
    """y = a + i b, of two tensors. Derivation. da and db are the parts of dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast", torch.randn(2, 3), torch.randn(3))

    @staticmethod
    def forward(real: Tensor, imag: Tensor) -> tuple[Tensor, Any]:
        return compose(real, imag), (real.shape, imag.shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        return sum_to(real(dy), cache[0]), sum_to(imaginary(dy), cache[1])


class Polar(Rule, functions=[torch.polar], complex=True):
    """y = r exp(i t). Derivation. With e = exp(i t): dr = Re(dy conj(e)) and dt = Re(dy conj(i r e))."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("broadcast", torch.rand(2, 3), torch.randn(3))

    @staticmethod
    def forward(abs: Tensor, angle: Tensor) -> tuple[Tensor, Any]:
        return compose(abs * angle.cos(), abs * angle.sin()), (abs, angle)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        r, t = cache
        along = real(dy) * t.cos() + imaginary(dy) * t.sin()
        across = imaginary(dy) * t.cos() - real(dy) * t.sin()
        return sum_to(along, r.shape), sum_to(r * across, t.shape)


class Real(Rule, functions=[torch.real, Tensor.real.__get__], complex=True):  # type: ignore[attr-defined]
    """y = a. Derivation. dz = dy + 0 i."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("complex", Z)
        yield case("real", torch.randn(3), function=torch.real)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return real(input), input.is_complex()

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return compose(dy, torch.zeros_like(dy)) if cache else dy


class Imag(Rule, functions=[torch.imag, Tensor.imag.__get__], complex=True):  # type: ignore[attr-defined]
    """y = b. Derivation. dz = 0 + i dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("complex", Z)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return imaginary(input), None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return compose(torch.zeros_like(dy), dy)


class Angle(Rule, functions=[torch.angle, Tensor.angle], complex=True):
    """y = the angle of the point (a, b), 0 or pi for a real number.

    Derivation. As for atan2: dz = dy (-b + i a) / |z|^2. Conventions: 0 at z = 0, and 0 for real numbers.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("complex", Z)
        yield case("real", torch.tensor([-1.5, 2.0]))

    @staticmethod
    def kinks(input: Tensor) -> int:
        return int((input == 0).sum())

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        a, b = real(input), imaginary(input) if input.is_complex() else torch.zeros_like(input)
        return torch.atan2(b, a), (a, b, input.is_complex())

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        a, b, of_complex = cache
        if not of_complex:
            return torch.zeros_like(dy)
        size = a * a + b * b
        share = torch.where(size == 0, 0, dy / size)
        return compose(-b * share, a * share)


CONJ = [torch.conj, Tensor.conj, torch.conj_physical, Tensor.conj_physical, torch.conj_physical_, Tensor.conj_physical_]


class Conj(Rule, functions=CONJ, complex=True):
    """y = a - i b. Derivation. dz = conj(dy)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("complex", Z)
        yield case("real", torch.randn(3), function=torch.conj)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.conj().resolve_conj(), None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy.conj().resolve_conj()


class Resolved(
    Rule, functions=[torch.resolve_conj, Tensor.resolve_conj, torch.resolve_neg, Tensor.resolve_neg], complex=True
):
    """y = z, held in memory as it reads. Derivation. dz = dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("complex", Z)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.clone(), None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy


ADJOINT = [torch.adjoint, Tensor.adjoint, Tensor.mH.__get__, Tensor.H.__get__]  # type: ignore[attr-defined]


class Adjoint(Rule, functions=ADJOINT, complex=True):
    """y = each matrix transposed and conjugated. Derivation. The same undoes it."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("real", torch.randn(2, 3))
        yield case("complex", Z, function=torch.adjoint)

    @staticmethod
    def forward(input: Tensor) -> tuple[Tensor, Any]:
        return input.transpose(-2, -1).conj().resolve_conj(), None

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        return dy.transpose(-2, -1).conj().resolve_conj()
