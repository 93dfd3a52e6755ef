"""Buffers that a forward pass changes: the running statistics of batch normalization."""

from __future__ import annotations

from torch import Tensor


def running_statistics(
    x: Tensor, mean: Tensor, var: Tensor, tracked: Tensor, momentum: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """running_mean (C), running_var (C) and num_batches_tracked () after a batch x (B, C, *S) in training.

    new = (1 - m) old + m statistic, the statistics being the mean of each channel over batch and places and, unlike
    what x is standardised by, the unbiased variance: sum of (x - mean)^2 over n - 1. Without a momentum m = 1 / t at
    the t-th batch, which makes new the average of the statistics of all t:
        (1 - 1/t) (s_1 + ... + s_(t-1)) / (t - 1) + s_t / t = (s_1 + ... + s_t) / t
    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm1d.html
    """
    tracked = tracked + 1
    m = 1 / tracked.to(mean.dtype) if momentum is None else momentum
    rows = x.transpose(0, 1).flatten(1)  # (C, n)
    centre = rows.mean(1, keepdim=True)  # (C, 1)
    variance = (rows - centre).square().sum(1) / (rows.shape[1] - 1)  # (C)
    return (1 - m) * mean + m * centre[:, 0], (1 - m) * var + m * variance, tracked
