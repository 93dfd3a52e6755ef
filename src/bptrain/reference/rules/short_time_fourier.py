"""The short-time Fourier transform: the transforms of windowed frames of a signal, and the signal from them.

Frame m of the signal x holds x_{m hop} ... x_{m hop + n - 1}, n = `n_fft`; with `center` x is first padded by n / 2 at
both ends. The window w is filled up with zeros to n at both ends.
    stft    Y_{fm} = the discrete Fourier transform of w_k x_{m hop + k}
    istft   x_t = N_t / D_t,  N_t the sum over the frames m of w_k y_{mk} at k = t - m hop, with y_m the inverse
            transform of Y_m, and D_t the sum of the w_k^2
Derivation. Both are made of transforms (see `fourier.py`), products and frames, whose gradients overlap and add:
    stft    with P_m the gradient of a frame times the window: dx sums the w_k P_{mk}, dw_k = sum_m P_{mk} x_{mk}
    istft   dN = dx / D and dD = -dx N / D^2; then dy_{mk} = w_k dN_t and dw_k = sum_m (y_{mk} dN_t + 2 w_k dD_t)
Source: Griffin and Lim, IEEE Transactions on Acoustics, Speech and Signal Processing 32 (1984), equation 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.arithmetic import Mul
from bptrain.reference.rules.complex_number import compose, real
from bptrain.reference.rules.fourier import as_complex, axes, fitted, transform, transform_gradient
from bptrain.reference.rules.padding import Pad
from bptrain.reference.rules.window import sliding


def _filled(window: Tensor | None, length: int | None, n: int, like: Tensor) -> tuple[Tensor, slice]:
    """The window with zeros at both ends, n elements, and where it stands in them."""
    length = n if length is None else length
    left = (n - length) // 2
    w = like.new_full((length,), 1, dtype=like.dtype.to_real()) if window is None else window
    if w.is_complex():
        raise TypeError("it is for real windows")
    return torch.cat([w.new_zeros(left), w, w.new_zeros(n - length - left)]), slice(left, left + length)


class STFT(Rule, functions=[torch.functional.stft, Tensor.stft], complex=True):
    """Y ([B,] F, M) = the transforms of the M frames of x ([B,] T).

    F is n, or n / 2 + 1 for a real x, if it is `onesided` (None: yes). `normalized` divides by sqrt(n). Without
    `return_complex` the real and the imaginary parts are a last axis.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        signal, window = torch.randn(2, 19), torch.rand(5) + 0.1
        yield case("plain", signal, 6, window=torch.rand(6), return_complex=True)
        yield case("window", signal, 8, 3, 5, window, True, "constant", True, True, True)
        yield case("not padded", signal[0], 5, 2, None, window, False, onesided=False, return_complex=True)
        yield case("complex", torch.randn(19, dtype=torch.complex64), 6, 4, window=torch.rand(6), return_complex=True)

    @staticmethod
    def forward(
        input: Tensor,
        n_fft: int,
        hop_length: int | None = None,
        win_length: int | None = None,
        window: Tensor | None = None,
        center: bool = True,
        pad_mode: str = "reflect",
        normalized: bool = False,
        onesided: bool | None = None,
        return_complex: bool | None = None,
        align_to_window: bool | None = None,
    ) -> tuple[Tensor, Any]:
        if align_to_window:
            raise TypeError("align_to_window")
        x, pad = input.reshape(1, -1, input.shape[-1]), None  # (1, B, T)
        if center:
            x, pad = Pad.forward(x, (n_fft // 2, n_fft // 2), pad_mode)
        w, place = _filled(window, win_length, n_fft, input)
        windows = sliding(x, 1, n_fft, hop_length or n_fft // 4, 0)
        frames = windows.read(x[0])  # (B, M, n)
        kind = "fft" if input.is_complex() or onesided is False else "rfft"
        product = frames * w
        y, along = transform(product, axes(product, None, [-1], "ortho" if normalized else None, kind))
        y = y.transpose(1, 2).reshape(*input.shape[:-1], y.shape[2], y.shape[1])  # ([B,] F, M)
        cache = (input.shape, pad, windows, frames, w, place, window, along, return_complex)
        return y if return_complex else torch.view_as_real(y), cache

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        shape, pad, windows, frames, w, place, window, along, return_complex = cache
        dy = dy if return_complex else compose(dy[..., 0], dy[..., 1])
        dproduct = transform_gradient(along, dy.reshape(-1, *dy.shape[-2:]).transpose(1, 2))
        dframes, dw = Mul.backward((frames, w), dproduct)
        dx = windows.add(dframes)[None]  # (1, B, T)
        dx = Pad.backward(pad, dx) if pad is not None else dx
        return dx.reshape(shape), None, None, None, dw[place] if window is not None and dw is not None else None


class ISTFT(Rule, functions=[torch.functional.istft, Tensor.istft], complex=True):
    """x ([B,] T) = the signal from the transforms Y ([B,] F, M) of its frames, cut off or filled up to `length`.

    Without `return_complex` it is real, and made of the first n / 2 + 1 rows of Y, whatever others there are.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        half, whole = torch.randn(2, 4, 6, dtype=torch.complex64), torch.randn(6, 5, dtype=torch.complex64)
        window = torch.rand(6) + 0.5
        yield case("plain", half, 6, window=window)
        yield case("window", half, 6, 2, 5, window[:5], True, True, True, 11)
        yield case("not centred", half, 6, 3, window=window, center=False)
        yield case("whole transform", whole, 6, window=window, onesided=False)
        yield case("complex", whole, 6, window=window, return_complex=True)

    @staticmethod
    def forward(
        input: Tensor,
        n_fft: int,
        hop_length: int | None = None,
        win_length: int | None = None,
        window: Tensor | None = None,
        center: bool = True,
        normalized: bool = False,
        onesided: bool | None = None,
        length: int | None = None,
        return_complex: bool = False,
    ) -> tuple[Tensor, Any]:
        hop, z = hop_length or n_fft // 4, input.reshape(-1, *input.shape[-2:]).transpose(1, 2)  # (B, M, F)
        norm, kind = "ortho" if normalized else None, "ifft" if return_complex else "irfft"
        y, along = transform(z, axes(z, [n_fft], [-1], norm, kind))  # (B, M, n)
        w, place = _filled(window, win_length, n_fft, input)
        total, half = n_fft + hop * (z.shape[1] - 1), n_fft // 2 if center else 0
        windows = sliding(y.new_zeros(1, total), 1, n_fft, hop, 0)
        end = min(total, half + length) if length is not None else total - half
        seen = slice(half, end)
        above, below = windows.add(y * w), windows.add((w * w).expand(1, *y.shape[1:]))
        x = above[:, seen] / below[:, seen]  # (B, T)
        cache = (input.shape, along, y, w, place, window, windows, seen, above, below)
        x = x if length is None else fitted(x, length)
        return x.reshape(*input.shape[:-2], -1), cache

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        shape, along, y, w, place, window, windows, seen, above, below = cache
        dabove, dbelow = torch.zeros_like(above), torch.zeros_like(above)
        dx = fitted(dy.reshape(len(above), -1), seen.stop - seen.start)
        dabove[:, seen] = dx / below[:, seen]
        dbelow[:, seen] = -dx * (above / (below * below)).conj()[:, seen]
        dframes = windows.read(dabove)  # (B, M, n)
        dw = (real(dframes * y.conj()) + 2 * w * real(windows.read(dbelow))).sum((0, 1))
        dz = transform_gradient(along, as_complex(dframes * w)).transpose(1, 2).reshape(shape)
        return dz, None, None, None, dw[place] if window is not None else None
