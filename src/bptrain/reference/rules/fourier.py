"""Discrete Fourier transforms along one axis or several, of complex and of real signals.

    fft    y_k = s sum_t x_t w^{-kt},  w = exp(2 pi i / n)      s = 1, 1 / sqrt(n) or 1 / n, as `norm` says
    ifft   the same with w^{kt}
    rfft   y_0 ... y_{n/2} of a real x, the others being their conjugates
    irfft  the real x of which z_0 ... z_{n/2} is the rfft:  x_t = s sum_k c_k Re(z_k w^{kt}),  c_k = 1 for k = 0 and
           for k = n / 2, else 2, as z_k stands for its conjugate too
    hfft   irfft with the other sign and the scale of fft: the transform of a signal with z_{-t} = conj(z_t)
    ihfft  rfft with the other sign and the scale of ifft, its inverse

Derivation. By y = c z -> dz = conj(c) dy (see `Rule`): dx of fft is s sum_k dy_k w^{kt}, the sum with the other
sign, and the real part of it for a real x; of rfft the sum over the y that there are. dz of irfft is
s c_k sum_t dx_t w^{-kt}. An x that is shorter than n is filled up with zeros, a longer one cut off; so dx is cut off
or filled up with zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bptrain.reference.rules.complex_number import compose, real

LAST = {"rfft": "real", "irfft": "half", "hfft": "half", "ihfft": "real"}  # the kind of the last axis' transform
SMALL = 32  # a sum of no more terms, or of an odd number, is a matrix product


def as_complex(x: Tensor) -> Tensor:
    return x if x.is_complex() else compose(x, torch.zeros_like(x))


def exponentials(number: Tensor, n: int, sign: int, like: Tensor) -> Tensor:
    """w^{number} or, with the sign -1, w^{-number}; `number` is reduced to below n while it is whole."""
    turn = torch.remainder(number, n).to(like.dtype.to_real()) * (2 * math.pi / n)
    return compose(turn.cos(), sign * turn.sin())


def dft(x: Tensor, sign: int) -> Tensor:
    """sum_t x_t w^{sign kt} along the last axis of a complex x.

    The terms of an even and those of an odd t are two sums of half the length (Cooley and Tukey 1965).
    """
    n = x.shape[-1]
    if n > SMALL and n % 2 == 0:
        even, odd = dft(x[..., 0::2], sign), dft(x[..., 1::2], sign)
        odd = odd * exponentials(torch.arange(n // 2, device=x.device), n, sign, x)
        return torch.cat([even + odd, even - odd], -1)
    t = torch.arange(n, device=x.device)
    return x @ exponentials(t[:, None] * t, n, sign, x)


def fitted(x: Tensor, n: int) -> Tensor:
    """The last axis cut off after n elements, or filled up with zeros."""
    missing = x.new_zeros((*x.shape[:-1], max(n - x.shape[-1], 0)))
    return torch.cat([x[..., :n], missing], -1)


@dataclass(frozen=True)
class Axis:
    """One transform along one axis: of n elements, with the sign of its exponent, its scale and its kind.

    `kind` is 'complex', 'real' (rfft, ihfft: a real input) or 'half' (irfft, hfft: a real output); the input has
    `length` elements.
    """

    dim: int
    n: int
    length: int
    sign: int
    scale: float
    kind: str

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(self.dim, -1)
        if self.kind == "half":
            z = fitted(as_complex(x), self.n // 2 + 1)
            y = real(dft(fitted(z * self._double(z), self.n), self.sign))
        else:
            y = dft(as_complex(fitted(x, self.n)), self.sign)
            y = y[..., : self.n // 2 + 1] if self.kind == "real" else y
        return (self.scale * y).transpose(self.dim, -1)

    def backward(self, dy: Tensor) -> Tensor:
        dy = dy.transpose(self.dim, -1)
        if self.kind == "half":
            dz = dft(as_complex(dy), -self.sign)[..., : self.n // 2 + 1]
            dx = fitted(dz * self._double(dz), self.length)
        else:
            dx = fitted(dft(fitted(dy, self.n), -self.sign), self.length)
        return (self.scale * dx).transpose(self.dim, -1)

    def _double(self, z: Tensor) -> Tensor:
        """c_k along the last axis."""
        k = torch.arange(self.n // 2 + 1, device=z.device)
        return torch.where((k == 0) | (2 * k == self.n), 1.0, 2.0).to(z.dtype.to_real())


def axes(x: Tensor, s: Sequence[int] | None, dim: Sequence[int] | None, norm: str | None, kind: str) -> list[Axis]:
    """The transforms of a call, in their order; `kind` is the name of torch's function for one axis."""
    inverse = kind in ("ifft", "irfft", "ihfft")
    if dim is None:
        dim = range(x.dim()) if s is None else range(x.dim() - len(s), x.dim())
    places = [d % x.dim() for d in dim]
    lengths = [x.shape[d] for d in places]
    sizes = [n if s is None or s[i] == -1 else s[i] for i, n in enumerate(lengths)]
    if kind in ("irfft", "hfft") and (s is None or s[-1] == -1):
        sizes[-1] = 2 * (lengths[-1] - 1)
    made = []
    for i, (d, n, length) in enumerate(zip(places, sizes, lengths, strict=True)):
        last = LAST.get(kind, "complex") if i == len(places) - 1 else "complex"
        scaled = {"ortho": 0.5, "forward": not inverse}.get(norm or "backward", inverse)
        made.append(Axis(d, n, length, 1 if inverse else -1, n ** -float(scaled), last))
    return made[::-1] if LAST.get(kind) == "real" else made  # the real input first, the real output last


def transform(x: Tensor, along: list[Axis]) -> tuple[Tensor, tuple[list[Axis], bool]]:
    """All transforms one after the other, and what `transform_gradient` needs."""
    y = x
    for axis in along:
        y = axis.forward(y)
    return y if along else x.clone(), (along, x.is_complex())


def transform_gradient(cache: tuple[list[Axis], bool], dy: Tensor) -> Tensor:
    """dx of `transform`."""
    along, of_complex = cache
    for axis in reversed(along):
        dy = axis.backward(dy)
    return dy if of_complex else real(dy)
