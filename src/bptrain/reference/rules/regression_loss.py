"""Losses of a residual d = x - t: squared, absolute, and those between the two.

    l = w rho(d),  with x, t and l (*), and w (*) where the loss has weights (1 without)

x and t are broadcast against each other, as torch does with a warning.

Derivation. dx = dl w rho'(d), dt = -dx, dw = dl rho(d); broadcast axes are summed. In a mean
y = sum_i l_i / sum_i w_i the weights stand below too, and dw_i = dy (rho(d_i) - y) / sum_k w_k.
Torch has a mean of its own for each weighted loss, kept here: mse_loss and l1_loss divide by the sum of the
weights, huber_loss by the number of terms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.loss_reduction import reduced, reduction_name, term_gradient


def _forward(
    rho: Tensor,
    slope: Tensor,
    input: Tensor,
    target: Tensor,
    reduction: str,
    weight: Tensor | None = None,
    total: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """The loss from rho(d) and rho'(d); `total` is the sum of the weights where the mean divides by it."""
    count = rho.numel() if total is None else total
    y = reduced(rho if weight is None else rho * weight, reduction, count)
    mean = y if total is not None and reduction == "mean" else None
    return y, (rho, slope, input.shape, target.shape, weight, mean, reduction, count)


def _backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients of input, target and weight."""
    rho, slope, input_shape, target_shape, weight, mean, reduction, count = cache
    dl = term_gradient(dy, reduction, count)
    if weight is None:
        dresidual, dweight = dl * slope, None
    else:
        dresidual, dweight = dl * weight * slope, sum_to(dl * rho, weight.shape)
        if mean is not None:
            dweight = dweight - dl * mean
    return sum_to(dresidual, input_shape), sum_to(-dresidual, target_shape), dweight


def _cases(weights: bool = True, **setting: Any) -> Iterable[Case]:
    """Each reduction without and with weights, of residuals on both sides of 0 and of `setting`."""
    for reduction in ("mean", "sum", "none"):
        yield case(reduction, 2 * torch.randn(2, 3), torch.randn(2, 3), reduction=reduction, **setting)
        if weights:
            weight = torch.rand(2, 3) + 0.1
            label = f"weighted, {reduction}"
            yield case(label, torch.randn(2, 3), torch.randn(2, 3), reduction=reduction, weight=weight, **setting)


class MSELoss(Rule, functions=[F.mse_loss]):
    """rho(d) = d^2. Derivation. rho' = 2 d."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return _cases()

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        d = input - target
        total = None if weight is None else weight.sum()
        reduction = reduction_name(size_average, reduce, reduction)
        return _forward(d**2, 2 * d, input, target, reduction, weight, total)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dinput, dtarget, dweight = _backward(cache, dy)
        return dinput, dtarget, None, None, None, dweight


class L1Loss(Rule, functions=[F.l1_loss]):
    """rho(d) = |d|. Derivation. rho' = sign(d); 0 at the kink d = 0, as in torch."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield from _cases()
        yield case("kink", torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0.5, 1.0, 0.0]), smooth=False)

    @staticmethod
    def kinks(input: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> int:
        return int((input == target).sum())

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        d = input - target
        total = None if weight is None else weight.sum()
        reduction = reduction_name(size_average, reduce, reduction)
        return _forward(d.abs(), d.sign(), input, target, reduction, weight, total)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return MSELoss.backward(cache, dy)


class SmoothL1Loss(Rule, functions=[F.smooth_l1_loss]):
    """rho(d) = d^2 / (2 beta) where |d| < beta, else |d| - beta / 2; the absolute loss for beta = 0.

    Derivation. rho' = d / beta where |d| < beta, else sign(d); they meet at |d| = beta.
    Source: Girshick, Fast R-CNN, ICCV 2015, equation 3, with torch's beta.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield from _cases(weights=False)
        yield case("beta", torch.randn(3, 2), torch.randn(3, 2), beta=0.3)
        yield case("joint", torch.tensor([0.5, -0.5, 2.0]), torch.zeros(3), beta=0.5, smooth=False)
        yield case("beta 0", torch.tensor([0.5, 0.0, -2.0]), torch.zeros(3), beta=0.0, smooth=False)

    @staticmethod
    def kinks(
        input: Tensor,
        target: Tensor,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> int:
        return L1Loss.kinks(input, target) if beta == 0 else 0

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> tuple[Tensor, Any]:
        d = input - target
        near = d.abs() < beta
        # No element is near for beta = 0, but its quotient would still be taken.
        rho = torch.where(near, d**2 / (2 * beta or 1), d.abs() - beta / 2)
        slope = torch.where(near, d / (beta or 1), d.sign())
        return _forward(rho, slope, input, target, reduction_name(size_average, reduce, reduction))

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dinput, dtarget, _ = _backward(cache, dy)
        return dinput, dtarget


class HuberLoss(Rule, functions=[F.huber_loss]):
    """rho(d) = d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2).

    Derivation. rho' = d where |d| <= delta, else delta sign(d): d cut off at delta on both sides.
    Source: Huber, Annals of Mathematical Statistics 35 (1964).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield from _cases()
        yield case("delta", torch.randn(3, 2), torch.randn(3, 2), delta=0.3)
        yield case("joint", torch.tensor([0.5, -0.5, 2.0]), torch.zeros(3), delta=0.5, smooth=False)

    @staticmethod
    def forward(
        input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        d = input - target
        rho = torch.where(d.abs() <= delta, d**2 / 2, delta * (d.abs() - delta / 2))
        return _forward(rho, d.clamp(-delta, delta), input, target, reduction, weight)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dinput, dtarget, dweight = _backward(cache, dy)
        return dinput, dtarget, None, None, dweight
