"""Losses of class scores x (B, C), or (C) for one sample, by a margin between the right classes and the others.

The terms of a loss, one a sample, are kept, added or averaged as `loss_reduction` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.loss_reduction import reduced, reduction_name, term_gradient
from bptrain.reference.rules.sigmoid import log1p_exp, sigmoid

REDUCTIONS = ("mean", "sum", "none")


def _per_sample(dy: Tensor, reduction: str, terms: Tensor) -> Tensor:
    """dl of each sample, with axes of size 1 after it: of the shape (B, 1), or (1)."""
    return term_gradient(dy, reduction, terms.numel()).expand(terms.shape).unsqueeze(-1)


class MultiMarginLoss(Rule, functions=[F.multi_margin_loss]):
    """l = (1 / C) w_t sum_(c != t) max(margin - x_t + x_c, 0)^p for the right class t (B), with p 1 or 2.

    Derivation. With z_c = margin - x_t + x_c: dx_c = dl w_t p max(z_c, 0)^(p - 1) [z_c > 0] / C for c != t, and dx_t is
    minus the sum of these. At the kink z = 0 the slope is 0, as in torch, which gives no gradient of the weights w (C).
    Source: Crammer and Singer, Journal of Machine Learning Research 2 (2001); F.multi_margin_loss.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x, t = torch.randn(4, 3), torch.tensor([2, 0, 0, 1])
        for reduction in REDUCTIONS:
            yield case(reduction, x, t, reduction=reduction)
            weight = torch.tensor([0.3, 1.7, 0.6])
            yield case(f"squared, {reduction}", x, t, 2, 0.7, weight, reduction=reduction, constant=("weight",))
        yield case("one sample", x[0], t[0], margin=0.3)
        yield case("one sample, kept", x[0], t[:1], reduction="none")
        yield case("kink", torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([1]), smooth=False)

    @staticmethod
    def kinks(input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, *args: Any, **kwargs: Any) -> int:
        right = target.reshape(*input.shape[:-1], 1)  # (B, 1)
        other = torch.ones_like(input).scatter(-1, right, 0)
        return int((other * (margin - input.gather(-1, right) + input == 0)).sum()) if p == 1 else 0

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        p: int = 1,
        margin: float = 1.0,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        right = target.reshape(*input.shape[:-1], 1)  # (B, 1)
        w = torch.ones_like(right, dtype=input.dtype) if weight is None else weight[right]  # (B, 1)
        other = torch.ones_like(input).scatter(-1, right, 0)
        z = margin - input.gather(-1, right) + input  # (B, C)
        share = other * w * (z > 0) / input.shape[-1]
        terms = (share * z**p).sum(-1)  # (B)
        if target.dim() > terms.dim() and reduction == "none":
            terms = terms.reshape(target.shape)
        reduction = reduction_name(size_average, reduce, reduction)
        return reduced(terms, reduction, terms.numel()), (share * p * z ** (p - 1), right, terms, reduction)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        slope, right, terms, reduction = cache
        dx = (_per_sample(dy, reduction, terms) * slope).reshape(slope.shape)
        return dx.scatter_add(-1, right, -dx.sum(-1, keepdim=True))


def _pairs(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """How often each class is listed as right (B, C), and 1 - x_j + x_i of all pairs (B, C, C): right, wrong."""
    listed = torch.cumprod((target >= 0).to(x.dtype), -1)
    times = torch.zeros_like(x).scatter_add(-1, target.clamp(min=0), listed)
    return times, 1 - x.unsqueeze(-1) + x.unsqueeze(-2)


class MultiLabelMarginLoss(Rule, functions=[F.multilabel_margin_loss]):
    """l = (1 / C) sum over right classes j and wrong classes i of max(1 - x_j + x_i, 0).

    t (B, C) lists the right classes of a sample up to the first negative number; one that stands there twice counts
    twice.
    Derivation. With g_ji = dl [1 - x_j + x_i > 0] / C for each such pair: dx_i = sum_j g_ji, dx_j = -sum_i g_ji.
    At the kink the slope is 0, as in torch.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        t = torch.tensor([[2, 0, -1, 1], [-1, 0, 1, 2], [3, 3, 0, -1]])
        for reduction in REDUCTIONS:
            yield case(reduction, torch.randn(3, 4), t, reduction=reduction)
        yield case("one sample", torch.randn(4), t[0])
        yield case("kink", torch.tensor([0.0, 1.0]), torch.tensor([1, -1]), smooth=False)

    @staticmethod
    def kinks(input: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> int:
        times, z = _pairs(input, target)
        return int((times.unsqueeze(-1) * (times == 0).unsqueeze(-2) * (z == 0)).sum())

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        times, z = _pairs(input, target)
        share = times.unsqueeze(-1) * (times == 0).unsqueeze(-2) * (z > 0) / input.shape[-1]
        terms = (share * z).sum((-2, -1))  # (B)
        reduction = reduction_name(size_average, reduce, reduction)
        return reduced(terms, reduction, terms.numel()), (share.sum(-2) - share.sum(-1), terms, reduction)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        slope, terms, reduction = cache
        return _per_sample(dy, reduction, terms) * slope


class MultiLabelSoftMarginLoss(Rule, functions=[F.multilabel_soft_margin_loss], cancels=True):
    """l = -(1 / C) sum_c w_c (t_c log p_c + (1 - t_c) log(1 - p_c)) with p = sigmoid(x); x and t (*, C), l (*).

    With log p = -softplus(-x) and log(1 - p) = -softplus(x), where softplus(x) = log(1 + exp(x)), nothing overflows.
    Derivation. dx = dl w (p - t) / C, dt = -dl w x / C, and dw = dl (t softplus(-x) + (1 - t) softplus(x)) / C.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        for reduction in REDUCTIONS:
            yield case(reduction, torch.randn(2, 3), torch.rand(2, 3), reduction=reduction)
            yield case(
                f"weighted, {reduction}", torch.randn(2, 3), torch.rand(2, 3), torch.rand(3), reduction=reduction
            )
        yield case("one sample", torch.randn(3), torch.rand(3))
        yield case("three axes", torch.randn(2, 4, 3), torch.rand(2, 4, 3), torch.rand(4, 1))
        yield case("large", torch.tensor([[-800.0, 0.0, 800.0]]), torch.tensor([[1.0, 0.0, 0.3]]))

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        surprise = target * log1p_exp(-input) + (1 - target) * log1p_exp(input)
        w = 1.0 if weight is None else weight
        terms = (w * surprise).mean(-1)  # (*)
        reduction = reduction_name(size_average, reduce, reduction)
        return reduced(terms, reduction, terms.numel()), (input, target, weight, w, surprise, terms, reduction)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, t, weight, w, surprise, terms, reduction = cache
        dl = _per_sample(dy, reduction, terms) / x.shape[-1]  # (*, 1)
        # sigmoid(x) - t without the cancellation of a probability near 1
        residual = (1 - t) * sigmoid(x) - t * sigmoid(-x)
        dweight = None if weight is None else sum_to(dl * surprise, weight.shape)
        return sum_to(dl * w * residual, x.shape), sum_to(-dl * w * x, t.shape), dweight
