"""One-sided Jacobi rotations (Hestenes 1958): X J with a unitary J, such that the columns of X J are orthogonal.

Columns x and y with <x, y> = g e^{if} become c x - s e^{-if} y and s e^{if} x + c y, with c and s of the angle that has
    tan = sign(z) / (|z| + sqrt(1 + z^2)),   z = (|y|^2 - |x|^2) / (2 g)
which makes them orthogonal; it is the smaller of two. The rotation is added as a small correction, with c - 1 = -s^2 /
(1 + c) (Rutishauser 1966), so that rounding does not add up. Sweeps over all pairs converge quadratically in the end.
In one round the pairs have no column in common, and N - 1 rounds have every pair once: the columns sit around a table,
each faces another one, and all but the first move on by one seat.
Source: Golub and Van Loan, Matrix Computations (2013), 8.5 and 8.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from bptrain.reference.rules.complex_number import real

SWEEPS = 40  # ten are enough for matrices of hundreds of columns


def orthogonalized(x: Tensor, rows: int) -> Tensor:
    """X J with columns that are orthogonal in their first `rows` rows; X (..., M, N)."""
    columns, n = x.mT, x.shape[-1]  # (..., N, M)
    if n % 2:
        columns = torch.cat([columns, torch.zeros_like(columns[..., :1, :])], -2)
    with _one_thread():
        for _ in range(SWEEPS):
            worst = real(columns.new_zeros(()))
            for _ in range(columns.shape[-2] - 1):
                columns, cosine = _round(columns, rows)
                worst = torch.maximum(worst, cosine)
            if not worst.item() > n * torch.finfo(x.dtype).eps:  # NaN is no reason to go on
                break
    return columns[..., :n, :].mT


@contextmanager
def _one_thread() -> Iterator[None]:
    """For many steps of some ten thousand elements, which several threads take longer to share than to do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _round(columns: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Each pair made orthogonal and all moved on; and the largest cosine of an angle between two before."""
    half = columns.shape[-2] // 2
    x, y = columns[..., :half, :], columns[..., half:, :].flip(-2)  # (..., N / 2, M)
    left, right = x[..., :rows], y[..., :rows]
    inner = (left.conj() * right).sum(-1, keepdim=True)  # (..., N / 2, 1)
    xx, yy = (real((t.conj() * t).sum(-1, keepdim=True)) for t in (left, right))
    size = inner.abs()
    zero = size == 0
    z = (yy - xx) / (2 * size)
    tan = torch.where(zero, 0, torch.where(z < 0, -1, 1) / (z.abs() + (1 + z * z).sqrt()))
    cosine = 1 / (1 + tan * tan).sqrt()
    sine = cosine * tan
    less = sine * sine / (1 + cosine)
    turn = sine * torch.where(zero, 1, inner / size)
    x, y = x - (less * x + turn.conj() * y), y + (turn * x - less * y)
    moved = torch.cat([x[..., :1, :], y[..., :1, :], x[..., 1:, :], y[..., 1:, :].flip(-2)], -2)
    return moved, torch.where(zero, 0, size / (xx.sqrt() * yy.sqrt())).amax()


def by_column(x: Tensor, order: Tensor) -> Tensor:
    """The columns of X (..., M, N) in an order (..., N)."""
    return x.gather(-1, order[..., None, :].expand(x.shape))


def lengths(x: Tensor) -> Tensor:
    """Of the columns, (..., N)."""
    return real((x.conj() * x).sum(-2)).sqrt()
