"""Gradient accumulation: the gradient over a large batch from those over its parts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def accumulate(parts: Sequence[Sequence[Tensor]], sizes: Sequence[int]) -> list[Tensor]:
    """The gradients of the mean loss over all samples; `parts` has those of the mean loss over each batch.

    L = (1 / N) sum_b n_b L_b with N = sum_b n_b, so dL = sum_b (n_b / N) dL_b. Dividing by the number of batches
    instead is right only where all are of one size.
    """
    total = sum(sizes)
    weighted = ([g * (n / total) for g in gradients] for gradients, n in zip(parts, sizes, strict=True))
    return [sum(same[1:], start=same[0]) for same in zip(*weighted, strict=True)]
