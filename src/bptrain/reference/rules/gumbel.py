"""Gumbel-softmax: a draw of one of several classes that has a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.softmax import softmax, softmax_gradient


class GumbelSoftmax(Rule, functions=[F.gumbel_softmax], random=True, cancels=True):
    """y = softmax((x + g) / tau) along `dim`, with g_i = -log(e_i) and e_i drawn from the exponential distribution.

    With `hard` y is 1 for the largest one and 0 for the others, and the gradient is that of the soft y all the same
    (straight through): no derivative but a contract. Derivation. That of softmax, divided by tau.
    Source: Jang, Gu and Poole, arXiv 1611.01144 (2016).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("soft", torch.randn(2, 3))
        yield case("temperature, axis", torch.randn(4, 2, 3), 0.7, False, 1e-10, 1)
        yield case("hard", torch.randn(2, 3), tau=2, hard=True, smooth=False)

    @staticmethod
    def contract(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> str:
        return "hard: the gradient is that of the soft y, straight through" if hard else ""

    @staticmethod
    def forward(
        logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1, *, again: Callable
    ) -> tuple[Tensor, Any]:
        def drawn(x: Tensor) -> Tensor:
            return torch.empty_like(x, memory_format=torch.legacy_contiguous_format).exponential_()

        soft = softmax((logits - again(logits, function=drawn).log()) / tau, dim)
        y = soft
        if hard:
            y = torch.zeros_like(soft).scatter(dim, soft.argmax(dim, keepdim=True), 1.0)
        return y, (soft, tau, dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        soft, tau, dim = cache
        return softmax_gradient(soft, dy, dim) / tau
