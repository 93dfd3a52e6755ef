"""Losses that are the negative logarithm of a likelihood, or a divergence of distributions, element by element.

The terms of a loss are kept, added or averaged as `loss_reduction` says; operands that broadcast get the sum of
their copies' gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.loss_reduction import reduced, reduction_name, term_gradient

REDUCTIONS = ("mean", "sum", "none")


class GaussianNLLLoss(Rule, functions=[F.gaussian_nll_loss]):
    """l = (log v + (x - t)^2 / v) / 2, and log(2 pi) / 2 more for `full`: the target t is normal, N(x, v).

    x and t (*), `var` (*), or (*) with the last axis missing or one axis of size 1, or a number. v = max(var, eps).
    Derivation. With d = x - t: dx = dl d / v, dt = -dx, and dv = dl (1 / v - d^2 / v^2) / 2.
    Contract of torch: dvar = dv also where var < eps, where v does not depend on it, so that it can grow again.
    Source: Nix and Weigend, IEEE ICNN 1994; F.gaussian_nll_loss.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x, t = torch.randn(2, 3), torch.randn(2, 3)
        for reduction in REDUCTIONS:
            yield case(reduction, x, t, torch.rand(2, 3) + 0.1, reduction=reduction)
        yield case("full", x, t, torch.rand(2, 3) + 0.1, True)
        yield case("one variance a row", x, t, torch.rand(2) + 0.1)
        yield case("one variance a column", x, t, torch.rand(1, 3) + 0.1, reduction="none")
        yield case("number", x, t, 0.7)
        yield case("clamped", x, t, torch.tensor([[0.0, 0.1, 0.5], [0.3, 0.2, 0.9]]), eps=0.3, smooth=False)

    @staticmethod
    def contract(var: Tensor | float, eps: float, **_: Any) -> str:
        below = isinstance(var, Tensor) and bool((var < eps).any())
        return "a variance below eps gets the gradient that one of eps would" if below else ""

    @staticmethod
    def kinks(var: Tensor | float, eps: float, **_: Any) -> int:
        return int((var == eps).sum()) if isinstance(var, Tensor) else 0

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        var: Tensor | float,
        full: bool = False,
        eps: float = 1e-6,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        v = var if isinstance(var, Tensor) else torch.full_like(input, var)
        if v.shape != input.shape and v.shape == input.shape[:-1]:
            v = v.unsqueeze(-1)  # (*, 1)
        d, v = input - target, v.clamp(min=eps)
        terms = (torch.log(v) + d**2 / v + (math.log(2 * math.pi) if full else 0.0)) / 2
        return reduced(terms, reduction, terms.numel()), (d, v, input.shape, target.shape, var, reduction, terms)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        d, v, input_shape, target_shape, var, reduction, terms = cache
        dl = term_gradient(dy, reduction, terms.numel())
        dd = dl * d / v
        dvar = sum_to(dl * (1 - d**2 / v) / (2 * v), v.shape).reshape(var.shape) if isinstance(var, Tensor) else None
        return sum_to(dd, input_shape), sum_to(-dd, target_shape), dvar


class PoissonNLLLoss(Rule, functions=[F.poisson_nll_loss]):
    """l = exp(x) - t x, or x - t log(x + eps) without `log_input`: the count t is Poisson with the mean exp(x), or x.

    `full` adds Stirling's t log t - t + log(2 pi t) / 2 where t > 1, for log t!.
    Derivation. dx = dl (exp(x) - t), or dl (1 - t / (x + eps)); dt = -dl x, or -dl log(x + eps), and of Stirling
    dl (log t + 1 / (2 t)) more. Convention of torch: at t = 0 that is 0 times an infinity, so dt is NaN under `full`.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x, t = torch.randn(2, 3), torch.tensor([[0.4, 3.0, 1.5], [1.0, 7.0, 0.2]])
        for reduction in REDUCTIONS:
            yield case(reduction, x, t, reduction=reduction)
        yield case("mean itself", torch.rand(2, 3) + 0.1, t, log_input=False, eps=0.01)
        yield case("full", x, t + 0.1, full=True)
        yield case("full, kinks", x[0], torch.tensor([0.5, 1.0, 2.0]), full=True, smooth=False)
        yield case("broadcast target", x, t[:1, :1], reduction="none")
        yield case("broadcast input", x[:1], t)

    @staticmethod
    def kinks(
        input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, *args: Any, **kwargs: Any
    ) -> int:
        return int((target == 1).sum()) if full else 0

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        mean = torch.exp(input) if log_input else input
        log = input if log_input else torch.log(input + eps)
        terms, dterms_dtarget = mean - target * log, -log
        if full:
            stirling = target * torch.log(target) - target + torch.log(2 * math.pi * target) / 2
            terms = terms + torch.where(target > 1, stirling, 0)
            dterms_dtarget = dterms_dtarget + (target > 1) * (torch.log(target) + 1 / (2 * target))
        slope = mean - target if log_input else 1 - target / (input + eps)
        dterms_dtarget = dterms_dtarget.expand_as(terms)
        reduction = reduction_name(size_average, reduce, reduction)
        shapes = input.shape, target.shape
        return reduced(terms, reduction, terms.numel()), (slope, dterms_dtarget, shapes, reduction, terms.numel())

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        slope, dterms_dtarget, (input_shape, target_shape), reduction, count = cache
        dl = term_gradient(dy, reduction, count)
        return sum_to(dl * slope, input_shape), sum_to(dl * dterms_dtarget, target_shape)


class KLDivLoss(Rule, functions=[F.kl_div]):
    """l = t (log t - x), with x the logarithms of probabilities and t probabilities, or their logarithms.

    With `log_target` l = exp(t) (t - x). "batchmean" divides the sum by the size of the first axis, (*) -> ().
    Derivation. dx = -dl t and dt = dl (log t + 1 - x); with `log_target` dx = -dl exp(t), dt = dl exp(t) (t + 1 - x).
    0 log 0 is 0; its slope is infinite, and torch gives NaN for it.
    Source: Kullback and Leibler, Annals of Mathematical Statistics 22 (1951).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x, t = torch.randn(2, 3), torch.rand(2, 3) + 0.05
        for reduction in ("batchmean", "sum", "none"):  # torch warns about "mean"
            yield case(reduction, x, t, reduction=reduction)
            yield case(f"log target, {reduction}", x, torch.randn(2, 3), reduction=reduction, log_target=True)
        yield case("one number", x[0, 0], t[0, 0], reduction="batchmean")
        yield case("broadcast target", x, t[:1], reduction="batchmean")
        yield case("broadcast input", x[:, :1], t, reduction="sum")

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> tuple[Tensor, Any]:
        t, log = (torch.exp(target), target) if log_target else (target, torch.log(target))
        terms = torch.where(t == 0, 0, t * log) - t * input
        dterms_dtarget = log + 1 - input
        dterms_dtarget = t * dterms_dtarget if log_target else torch.where(t == 0, torch.nan, dterms_dtarget)
        reduction, total = reduction_name(size_average, reduce, reduction), terms.numel()
        if reduction == "batchmean":
            reduction, total = "mean", input.shape[0] if input.dim() else 1
        y = reduced(terms, reduction, total)
        return y, (t.expand_as(terms), dterms_dtarget, input.shape, target.shape, reduction, total)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        t, dterms_dtarget, input_shape, target_shape, reduction, total = cache
        dl = term_gradient(dy, reduction, total)
        return sum_to(-dl * t, input_shape), sum_to(dl * dterms_dtarget, target_shape)
