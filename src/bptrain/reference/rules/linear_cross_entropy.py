"""The cross-entropy of a linear layer's scores, as one function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.classification_loss import CrossEntropy
from bptrain.reference.rules.linear import Linear


class LinearCrossEntropy(Rule, functions=[F.linear_cross_entropy], cancels=True):
    """l = cross_entropy(x W^T + b), x (I) or (N, I), W (C, *, I), b (C, *) and scores (N, C, *).

    Derivation. The chain rule of the two: ds by `CrossEntropy`, then dx = ds W, dW = ds^T x, db = sum over N of ds
    by `Linear`, with the axes (C, *) as one. `options` says how torch cuts the work, not what comes out of it.
    Source: F.linear_cross_entropy.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x, weight = torch.randn(4, 3), torch.randn(5, 3)
        index = torch.tensor([4, 0, 2, 2])
        for reduction in ("mean", "sum", "none"):
            yield case(reduction, x, weight, index, reduction=reduction)
        yield case("vector", torch.randn(3), weight, torch.tensor(1), linear_bias=torch.randn(5))
        w = torch.rand(5)
        yield case("weighted, smoothed", x, weight, index, weight=w, label_smoothing=0.2, constant=("weight",))
        yield case("ignored", x, weight, index, ignore_index=2, linear_bias=torch.randn(5))
        places = torch.randint(5, (4, 2))
        yield case("several places", x, torch.randn(5, 2, 3), places, linear_bias=torch.randn(5, 2))
        yield case("probabilities", x, weight, torch.rand(4, 5), weight=torch.rand(5))

    @staticmethod
    def forward(
        input: Tensor,
        linear_weight: Tensor,
        target: Tensor,
        *,
        linear_bias: Tensor | None = None,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> tuple[Tensor, Any]:
        matrix = linear_weight.reshape(-1, linear_weight.shape[-1])  # (C *, I)
        bias = linear_bias.reshape(-1) if linear_bias is not None else None  # (C *)
        scores, linear = Linear.forward(input, matrix, bias)  # (N, C *)
        scores = scores.reshape(*input.shape[:-1], *linear_weight.shape[:-1])  # (N, C, *)
        ignored = -100 if ignore_index is None else ignore_index
        y, loss = CrossEntropy.forward(
            scores, target, weight, ignore_index=ignored, reduction=reduction, label_smoothing=label_smoothing
        )
        return y, (linear, loss, linear_weight, linear_bias)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        linear, loss, linear_weight, linear_bias = cache
        dscores, dtarget, *dweight = CrossEntropy.backward(loss, dy)
        assert dscores is not None
        rows = dscores.reshape(*linear[0].shape[:-1], -1)  # (N, C *)
        dx, dmatrix, dbias = Linear.backward(linear, rows)
        assert dmatrix is not None
        db = dbias.reshape(linear_bias.shape) if dbias is not None else None
        return dx, dmatrix.reshape(linear_weight.shape), dtarget, db, dweight[0] if dweight else None
