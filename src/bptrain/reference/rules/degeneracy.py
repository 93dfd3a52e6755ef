"""What factorizations leave open where values are equal, or 0, but for rounding.

Eigenvectors and singular vectors of equal values are any basis of a space, and so are those that belong to the value 0
and the columns of Q beyond the rank. What comes back to them is not told by the mathematics: the rules say NaN, and
nobody is right or wrong. In float32, where the rules run to show what rounding does, it is left as rounding makes it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bptrain.reference.rules.jacobi import lengths

# Units of rounding, relative to the largest: values that are nearer are equal; in float64, and in float32.
TIE, ROUGH_TIE = 500, 10


def exact(x: Tensor) -> bool:
    """Whether x is computed in float64."""
    return x.dtype.to_real() is torch.float64


def resolution(values: Tensor) -> Tensor:
    """The distance (..., 1) at which values (..., N) are equal."""
    units = TIE if exact(values) else ROUGH_TIE
    return units * torch.finfo(values.dtype).eps * values.abs().amax(-1, keepdim=True)


def vanishing(values: Tensor, read: Tensor | None = None) -> Tensor:
    """Which of values (..., N) are 0, here or as torch gave them."""
    zero = values.abs() <= resolution(values)
    return zero if read is None else zero | (read == 0)


def deficient(triangle: Tensor, read: Tensor | None = None) -> Tensor:
    """Whether the diagonal of each triangular matrix (..., M, N) has a 0, here or as torch gave it, (..., 1, 1)."""
    given = None if read is None else read.diagonal(0, -2, -1).abs()
    return (vanishing(triangle.diagonal(0, -2, -1).abs(), given).sum(-1) > 0)[..., None, None]


def lifted(pivots: Tensor) -> Tensor:
    """The pivots (..., K) of a factorization; in float32 none is smaller than rounding could leave it.

    A matrix that is singular in float32 alone shows how much rounding counts, as long as no result is infinite.
    """
    if exact(pivots):
        return pivots
    least = torch.finfo(pivots.dtype).eps * pivots.abs().amax(-1, keepdim=True)
    return torch.where(pivots.abs() < least, least, pivots)


def differences(values: Tensor) -> Tensor:
    """v_j - v_i, (..., N, N)."""
    return values[..., None, :] - values[..., :, None]


def equal(values: Tensor, read: Tensor | None = None) -> Tensor:
    """Which of values (..., N) are equal to which, here or as torch gave them, (..., N, N)."""
    same = differences(values).abs() <= resolution(values)[..., None]
    return same if read is None else same | (differences(read) == 0)


def ties(values: Tensor) -> Tensor:
    """How many other ones each of values (..., N) is equal to."""
    return equal(values).sum(-1) - 1


def told(x: Tensor, doubtful: Tensor) -> Tensor:
    """x, with NaN for what is not told."""
    return torch.where(doubtful, torch.nan, x) if exact(x) else x


def quotient(x: Tensor, y: Tensor) -> Tensor:
    """x / y, and 0 where x is 0."""
    return torch.where(x == 0, 0, x / y)


def divided(x: Tensor, y: Tensor, doubtful: Tensor, least: Tensor) -> Tensor:
    """x / y where that is not doubtful; in float32 a doubtful y is `least`."""
    return told(quotient(x, torch.where(doubtful, least, y)), doubtful)


def asked(*gradients: Tensor) -> Tensor:
    """Whether anything comes back to each matrix, (..., 1, 1)."""
    return torch.stack([(dy != 0).sum((-2, -1)) for dy in gradients]).sum(0)[..., None, None] > 0


def aligned(vectors: Tensor, values: Tensor, read: Tensor) -> Tensor:
    """The vectors (..., M, N) of values (..., N) turned to those that torch gave, as far as they are free.

    A vector is fixed but for its sign, or its phase if it is complex; those of equal values may be turned among each
    other, and those of values that are nearly equal are by rounding, the more the nearer these are.
    """
    turn = vectors.mH @ read  # (..., N, N)
    identity = torch.eye(values.shape[-1], dtype=turn.dtype, device=turn.device)
    free = identity != 0
    if exact(values):
        free = free | (turn.abs() * differences(values).abs() <= resolution(values)[..., None])
    turn = torch.where(free, turn, 0)
    length = lengths(turn)[..., None, :]
    return vectors @ torch.where(length == 0, identity, turn / length)
