"""What torch's losses do with the terms of a loss: keep them, add them, or take their mean.

    y = l (reduction="none"),   sum_n l_n ("sum"),   sum_n l_n / total ("mean")

with `total` the number of terms or the sum of their weights. Derivation: dl_n = dy_n, dy, dy / total.
"""

from __future__ import annotations

from torch import Tensor


def reduction_name(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction, which either of torch's two deprecated arguments overrides."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def reduced(terms: Tensor, reduction: str, total: Tensor | int) -> Tensor:
    """The loss y, of the shape of `terms` or a scalar."""
    if reduction == "none":
        return terms
    return terms.sum() if reduction == "sum" else terms.sum() / total


def term_gradient(dy: Tensor, reduction: str, total: Tensor | int) -> Tensor:
    """dl from dy: of the shape of the terms, or a scalar that holds for each of them."""
    return dy / total if reduction == "mean" else dy
