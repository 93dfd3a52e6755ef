"""Losses of a margin between two classes, -1 and 1: how far a score, or a difference of scores, is on the right side.

The terms of a loss are kept, added or averaged as `loss_reduction` says; operands that broadcast get the sum of
their copies' gradients. Convention of torch at the kink of max(z, 0) in each of these losses: the slope at z = 0 is 1.
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
SIGNS = torch.tensor([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])


class HingeEmbeddingLoss(Rule, functions=[F.hinge_embedding_loss]):
    """l = x where t = 1, max(margin - x, 0) where t = -1, and both together where t is neither; x, t and l (*).

    Derivation. dx = dl [t != -1] - dl [t != 1] [margin >= x]. t is only compared, so dt = 0.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        for reduction in REDUCTIONS:
            yield case(reduction, torch.randn(2, 3), SIGNS.clone(), reduction=reduction)
        yield case("margin", torch.randn(2, 3), SIGNS.clone(), 0.3)
        yield case("neither", torch.randn(3), torch.tensor([0.0, 0.5, 2.0]))
        yield case("broadcast", torch.randn(2, 3), SIGNS[0].clone())
        yield case("kink", torch.tensor([0.5, 1.0]), torch.tensor([-1.0, -1.0]), 0.5, smooth=False)

    @staticmethod
    def kinks(input: Tensor, target: Tensor, margin: float = 1.0, *args: Any, **kwargs: Any) -> int:
        return int(((target != 1) & (input == margin)).sum())

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        near, far = (target != -1).to(input.dtype), (target != 1).to(input.dtype)
        terms = near * input + far * (margin - input).clamp(min=0)
        slope = near - far * (margin >= input)
        reduction = reduction_name(size_average, reduce, reduction)
        return reduced(terms, reduction, terms.numel()), (slope, input.shape, target, reduction)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        slope, shape, target, reduction = cache
        return sum_to(term_gradient(dy, reduction, slope.numel()) * slope, shape), torch.zeros_like(target)


class MarginRankingLoss(Rule, functions=[F.margin_ranking_loss]):
    """l = max(margin - t (x1 - x2), 0): the first should be larger by the margin where t = 1, smaller where t = -1.

    Derivation. With a = dl [margin - t (x1 - x2) >= 0]: dx1 = -a t, dx2 = a t, dt = -a (x1 - x2).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        for reduction in REDUCTIONS:
            yield case(reduction, torch.randn(2, 3), torch.randn(2, 3), SIGNS.clone(), reduction=reduction)
        yield case("margin", torch.randn(2, 3), torch.randn(2, 3), SIGNS.clone(), 0.7)
        yield case("broadcast", torch.randn(2, 1), torch.randn(1, 3), SIGNS.clone(), 0.7)
        yield case("kink", torch.tensor([0.5]), torch.tensor([0.5]), torch.tensor([1.0]), smooth=False)

    @staticmethod
    def kinks(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, *args: Any, **kwargs: Any) -> int:
        return int((target * (input1 - input2) == margin).sum())

    @staticmethod
    def forward(
        input1: Tensor,
        input2: Tensor,
        target: Tensor,
        margin: float = 0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        apart = input1 - input2
        z = margin - target * apart
        reduction = reduction_name(size_average, reduce, reduction)
        y = reduced(z.clamp(min=0), reduction, z.numel())
        return y, (apart, target, z, input1.shape, input2.shape, reduction)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        apart, target, z, first_shape, second_shape, reduction = cache
        a = term_gradient(dy, reduction, z.numel()) * (z >= 0)
        return sum_to(-a * target, first_shape), sum_to(a * target, second_shape), sum_to(-a * apart, target.shape)


class SoftMarginLoss(Rule, functions=[F.soft_margin_loss], cancels=True):
    """l = log(1 + exp(-t x)), with t 1 or -1; x, t and l (*). Torch gives no gradient of t.

    Derivation. dx = -dl t sigmoid(-t x). Both are written so that nothing overflows; torch's kernel forms exp(-t x), so
    that its loss is infinite and its gradient NaN where t x < -88 in float32.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        for reduction in REDUCTIONS:
            yield case(reduction, torch.randn(2, 3), SIGNS.clone(), reduction=reduction, constant=("target",))
        tails = torch.tensor([-40.0, 0.0, 40.0, 800.0])
        yield case("tails", tails, torch.tensor([1.0, -1.0, 1.0, 1.0]), constant=("target",))

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        z = -target * input
        reduction = reduction_name(size_average, reduce, reduction)
        return reduced(log1p_exp(z), reduction, z.numel()), (z, target, input.shape, reduction)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        z, target, shape, reduction = cache
        return sum_to(-term_gradient(dy, reduction, z.numel()) * target * sigmoid(z), shape)
