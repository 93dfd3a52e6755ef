"""Distances between vectors: p-norms of differences, of pairs in a row and of all pairs.

Derivation. With u = a - b and y = (sum_k |u_k|^p)^(1/p) the slope is dy/du_k = sign(u_k) (|u_k| / y)^(p-1), and
da_k = dy dy/du_k, db = -da.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.norm import norm_kinks, vector_norm, vector_norm_gradient


def distance(u: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """The p-norm y of the differences u along the last axis, and the slopes dy/du as torch's distances have them.

    Conventions, which are not all those of `vector_norm`: 0 for u_k = 0. For p = inf each of several largest |u_k| gets
    the slope sign(u_k), undivided. For p = 0, the number of u_k that are not 0, all slopes are 0.
    """
    size = u.abs()
    if p == 0:
        return (u != 0).to(u.dtype).sum(-1), torch.zeros_like(u)
    if math.isinf(p):
        y = size.amax(-1)
        return y, torch.where(size == y[..., None], u.sign(), 0)
    y = (size**p).sum(-1) ** (1 / p)
    return y, torch.where(u == 0, 0, u.sign() * (size / y[..., None]) ** (p - 1))


class PairwiseDistance(Rule, functions=[F.pairwise_distance]):
    """y = the p-norm of a - b + eps along the last axis, after a and b are broadcast; eps is added to each element.

    Conventions as for `vector_norm`.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        a, b = torch.randn(2, 4, 3), torch.randn(4, 3)
        yield case("Euclidean", a, b)
        for p in (1.0, 3.0, 0.5, torch.inf):
            yield case(f"order {p}", a, b, p, 0.01, True)
        yield case("of vectors", a[0, 0], b, eps=0.0)
        yield case("of equals", b, b.clone(), eps=0, smooth=False)

    @staticmethod
    def kinks(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> int:
        return int(norm_kinks(x1 - x2 + eps, float(p), -1).sum())

    @staticmethod
    def forward(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> tuple[Tensor, Any]:
        y, cache = vector_norm(x1 - x2 + eps, float(p), -1, keepdim)
        return y, (x1, x2, cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        x1, x2, cache = cache
        du = vector_norm_gradient(cache, dy)
        return sum_to(du, x1.shape), sum_to(-du, x2.shape)


class Dist(Rule, functions=[torch.dist, Tensor.dist]):
    """y = the p-norm of all elements of a - b, after a and b are broadcast. Conventions as for `vector_norm`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        a, b = torch.randn(2, 3), torch.randn(3)
        yield case("Euclidean", a, b)
        for p in (1, 3, 0.5, torch.inf):
            yield case(f"order {p}", a, b, p)
        yield case("of equals", b, b.clone(), smooth=False)

    @staticmethod
    def kinks(input: Tensor, other: Tensor, p: float = 2) -> int:
        return int(norm_kinks(input - other, float(p), None).sum())

    @staticmethod
    def forward(input: Tensor, other: Tensor, p: float = 2) -> tuple[Tensor, Any]:
        y, cache = vector_norm(input - other, float(p), None, False)
        return y, (input, other, cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        input, other, cache = cache
        du = vector_norm_gradient(cache, dy)
        return sum_to(du, input.shape), sum_to(-du, other.shape)


class CDist(Rule, functions=[torch.cdist]):
    """y_ij = the distance of a_i and b_j, a (*, P, M), b (*, R, M), y (*, P, R), batches broadcast.

    torch may compute the Euclidean distance as (|a|^2 + |b|^2 - 2 a b^T)^(1/2), which cancels for near points; its
    gradients da_i = sum_j dy_ij (a_i - b_j) / y_ij = a_i sum_j c_ij - sum_j c_ij b_j, with c = dy / y, 0 for y = 0,
    cancel too. So does the rule, so that the rounding is seen.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        a, b = torch.randn(2, 4, 3), torch.randn(5, 3)
        yield case("Euclidean", a, b)
        for p in (0.0, 1.0, 3.0, 0.5, 1.5, torch.inf):
            yield case(f"order {p}", a, b, p)
        yield case("by a product", a, b, compute_mode="use_mm_for_euclid_dist")
        yield case("by a product, many", torch.randn(26, 2), b[:, :2])
        many = torch.randn(26, 2), b[:, :2]
        yield case("not by a product", *many, compute_mode="donot_use_mm_for_euclid_dist")
        same = torch.tensor([[1.0, -2.0, 1.0], [0.0, 0.0, 0.0]])
        for p in (0.5, 1.0, 1.5, 2.0, 3.0, torch.inf):
            yield case(f"order {p}, kinks", same, same[[1, 1, 0]], p, smooth=False)

    @staticmethod
    def kinks(x1: Tensor, x2: Tensor, p: float = 2.0, *args: Any, **kwargs: Any) -> int:
        if 1 < p < math.inf:  # without the differences of all pairs in memory
            return int((torch.cdist(x1, x2, p, "donot_use_mm_for_euclid_dist") == 0).sum())
        return int(norm_kinks(x1[..., None, :] - x2[..., None, :, :], float(p), -1).sum())

    @staticmethod
    def forward(
        x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary"
    ) -> tuple[Tensor, Any]:
        many = max(x1.shape[-2], x2.shape[-2]) > 25 and compute_mode == "use_mm_for_euclid_dist_if_necessary"
        if p == 2 and (many or compute_mode == "use_mm_for_euclid_dist"):
            squares = x1.square().sum(-1)[..., None] + x2.square().sum(-1)[..., None, :]
            y = (squares - 2 * x1 @ x2.transpose(-2, -1)).clamp_min(0).sqrt()
            return y, (x1, x2, y, None)
        y, slope = distance(x1[..., None, :] - x2[..., None, :, :], float(p))  # (*, P, R), (*, P, R, M)
        return y, (x1, x2, y, slope)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        x1, x2, y, slope = cache
        if slope is not None:
            du = dy[..., None] * slope
            return sum_to(du.sum(-2), x1.shape), sum_to(-du.sum(-3), x2.shape)
        c = torch.where(y == 0, 0, dy / y)
        da = x1 * c.sum(-1)[..., None] - c @ x2
        db = x2 * c.sum(-2)[..., None] - c.transpose(-2, -1) @ x1
        return sum_to(da, x1.shape), sum_to(db, x2.shape)


class PDist(Rule, functions=[F.pdist]):
    """y = the distances of all pairs i < j of rows of x (N, M), row by row in one vector."""

    @staticmethod
    def cases() -> Iterable[Case]:
        for p in (2.0, 0.0, 1.0, 3.0, 0.5, 1.5, torch.inf):
            yield case(f"order {p}", torch.randn(4, 3), p)
        kinks = torch.tensor([[1.0, -2.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, -2.0, 0.0]])
        for p in (0.5, 1.0, 1.5, 2.0, 3.0, torch.inf):
            yield case(f"order {p}, kinks", kinks, p=p, smooth=False)

    @staticmethod
    def kinks(input: Tensor, p: float = 2.0) -> int:
        i, j = torch.ones(len(input), len(input), device=input.device).triu(1).nonzero().unbind(1)
        return int(norm_kinks(input[i] - input[j], float(p), -1).sum())

    @staticmethod
    def forward(input: Tensor, p: float = 2.0) -> tuple[Tensor, Any]:
        i, j = torch.ones(len(input), len(input), device=input.device).triu(1).nonzero().unbind(1)
        y, slope = distance(input[i] - input[j], float(p))
        return y, (input, i, j, slope)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        input, i, j, slope = cache
        du = dy[:, None] * slope
        return torch.zeros_like(input).index_add(0, i, du).index_add(0, j, -du)
