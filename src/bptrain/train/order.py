"""The order of the rows in an epoch: a pure function of seed and epoch."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def permutation(rows: int, seed: int, epoch: int) -> Tensor:
    """The rows of an epoch in the order they are seen, int64 (rows,), the same wherever it is called.

    Seed and epoch are hashed, so that neither (seed 0, epoch 1) nor any other neighbour shares its stream
    with (seed 1, epoch 0).
    """
    digest = hashlib.blake2b(f"{seed} {epoch}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
    return torch.randperm(rows, generator=generator)


def batches(order: Tensor, size: int, drop_last: bool) -> list[Tensor]:
    """The order cut into batches of row indices; the last one may be smaller, or is left out."""
    cut = list(order.split(size))
    return cut[:-1] if drop_last and len(cut) > 1 and len(cut[-1]) < size else cut
