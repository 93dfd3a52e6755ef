"""Losses of how near vectors are to each other: by their angle, or by their distances to a third.

The terms of a loss are kept, added or averaged as `loss_reduction` says. Vectors of D features lie along the last axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.loss_reduction import reduced, reduction_name, term_gradient
from bptrain.reference.rules.norm import norm_kinks, vector_norm, vector_norm_gradient

REDUCTIONS = ("mean", "sum", "none")
TINY = 9.999999960041972e-13  # 1e-12 as a float32, which is how torch keeps it


def _cosine(x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """n1, n2, sqrt(n1 n2) and c of `CosineEmbeddingLoss`."""
    n1, n2 = ((x**2).sum(-1) + TINY for x in (x1, x2))
    root = (n1 * n2) ** 0.5
    return n1, n2, root, (x1 * x2).sum(-1) / root


class CosineEmbeddingLoss(Rule, functions=[F.cosine_embedding_loss], cancels=True):
    """l = 1 - c where t = 1, max(c - margin, 0) where t = -1, with c the cosine of two vectors; x1, x2 (B, D) or (D).

    c = <x1, x2> / sqrt(n1 n2) with n = <x, x> + 1e-12 (a float32 in any dtype); t
    and l (B) or (). l = 0 for any other t, which is only compared, so dt = 0.
    Derivation. dc/dx1 = x2 / sqrt(n1 n2) - c x1 / n1, and likewise for x2; dc = -dl where t = 1, and
    dl [c >= margin] where t = -1: torch's slope at the kink is 1.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        x1, x2, t = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([1, -1, -1, 0])
        for reduction in REDUCTIONS:
            yield case(reduction, x1, x2, t, reduction=reduction)
        yield case("margin", x1, x2, t, -0.4)
        yield case("one pair", x1[0], x2[0], torch.tensor(-1), -1.0)
        yield case("broadcast", x1[:1], x2, t, -0.4)
        right = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([-1.0])
        yield case("kink", *right, smooth=False)
        yield case("zero vector", torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([1.0]), smooth=False)

    @staticmethod
    def kinks(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, *args: Any, **kwargs: Any) -> int:
        c = _cosine(input1, input2)[-1]
        return int(((target == -1) & (c == margin)).sum())

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
        n1, n2, root, c = _cosine(input1, input2)
        terms = torch.where(target == 1, 1 - c, torch.where(target == -1, (c - margin).clamp(min=0), 0))
        slope = ((target == -1) & (c >= margin)).to(c.dtype) - (target == 1).to(c.dtype)
        reduction = reduction_name(size_average, reduce, reduction)
        y = reduced(terms, reduction, terms.numel())
        return y, (input1, input2, target, n1, n2, root, c, slope, reduction)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x1, x2, target, n1, n2, root, c, slope, reduction = cache
        dc = (term_gradient(dy, reduction, slope.numel()) * slope).unsqueeze(-1)  # (B, 1)
        n1, n2, root, c = (t.unsqueeze(-1) for t in (n1, n2, root, c))
        dx1, dx2 = dc * (x2 / root - c * x1 / n1), dc * (x1 / root - c * x2 / n2)
        return sum_to(dx1, x1.shape), sum_to(dx2, x2.shape), torch.zeros_like(target)


def _triplet(
    a: Tensor, p: Tensor, n: Tensor, margin: float, swap: bool, reduction: str, order: float, eps: float, keepdim: bool
) -> tuple[Tensor, Any]:
    near, far = (vector_norm(x - y + eps, order, -1, keepdim) for x, y in ((a, p), (a, n)))
    other = vector_norm(p - n + eps, order, -1, keepdim) if swap else far
    z = margin + near[0] - torch.minimum(far[0], other[0])
    # Of two equal distances each takes half of what goes back.
    own = (far[0] < other[0]).to(z.dtype) + (far[0] == other[0]).to(z.dtype) / 2 if swap else torch.ones_like(z)
    y = reduced(z.clamp(min=0), reduction, z.numel())
    return y, (near[1], far[1], other[1], z, own, reduction, (a.shape, p.shape, n.shape))


def _triplet_kinks(a: Tensor, p: Tensor, n: Tensor, margin: float, swap: bool, order: float, eps: float) -> int:
    """The z = 0, the two equal distances of a swap, and the kinks of the norms that z > 0 lets through."""
    distances, kinks = [], []
    for u in (a - p + eps, a - n + eps, p - n + eps):
        distances.append(vector_norm(u, order, -1, False)[0])
        kinks.append(norm_kinks(u, order, -1).squeeze(-1))
    near, far, other = distances
    z = margin + near - (torch.minimum(far, other) if swap else far)
    used = kinks[0] + kinks[1] * (not swap or far <= other) + kinks[2] * (other <= far) * swap
    return int((z == 0).sum() + ((used + (far == other) * swap) * (z > 0)).sum())


def _triplet_back(cache: Any, dy: Tensor) -> tuple[Tensor, ...]:
    near, far, other, z, own, reduction, shapes = cache
    dz = term_gradient(dy, reduction, z.numel()) * (z >= 0)
    ap = vector_norm_gradient(near, dz)  # of a - p
    an = vector_norm_gradient(far, -dz * own)  # of a - n
    pn = vector_norm_gradient(other, -dz * (1 - own))  # of p - n, 0 without a swap
    return tuple(sum_to(g, shape) for g, shape in zip((ap + an, pn - ap, -an - pn), shapes, strict=True))


class TripletMarginLoss(Rule, functions=[F.triplet_margin_loss], cancels=True):
    """l = max(margin + |a - p| - |a - n|, 0): the anchor a should be nearer to p than to n by the margin.

    a, p and n (B, D) or (D), l (B) or (). |x| is the norm of order `p` of x + eps. With `swap` |p - n| stands for
    |a - n| where it is smaller.
    Derivation. With b = dl [margin + |a - p| - |a - n| >= 0] and g the gradient of the norm (see `norm`):
    da = b (g(a - p) - g(a - n)), dp = -b g(a - p), dn = b g(a - n). Where |p - n| stands for |a - n| its gradient is
    that of p - n: dp = -b (g(a - p) + g(p - n)), dn = b g(p - n), da = b g(a - p).
    Conventions of torch: the slope at the kink is 1; of two equal distances each gets half.
    Source: Balntas et al., BMVC 2016; F.triplet_margin_loss.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        a, p, n = torch.randn(3, 4, 2).unbind()  # (4, 2) each
        for reduction in REDUCTIONS:
            yield case(reduction, a, p, n, reduction=reduction)
            yield case(f"swap, {reduction}", a, p, n, 3.0, swap=True, reduction=reduction)
        for order in (1, 3, torch.inf):
            yield case(f"order {order}", a, p, n, 2.0, order, 0.01)
        yield case("one triplet", a[0], p[0], n[0], 4.0)
        yield case("broadcast", a[:1], p, n)
        yield case("equal distances", a, a.clone(), n, 3.0, swap=True, smooth=False)
        line = torch.tensor([[0.0]]), torch.tensor([[1.0]]), torch.tensor([[2.0]])
        yield case("kink", *line, eps=0.0, smooth=False)

    @staticmethod
    def kinks(
        anchor: Tensor,
        positive: Tensor,
        negative: Tensor,
        margin: float = 1.0,
        p: float = 2,
        eps: float = 1e-6,
        swap: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> int:
        return _triplet_kinks(anchor, positive, negative, margin, swap, p, eps)

    @staticmethod
    def forward(
        anchor: Tensor,
        positive: Tensor,
        negative: Tensor,
        margin: float = 1.0,
        p: float = 2,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        reduction = reduction_name(size_average, reduce, reduction)
        return _triplet(anchor, positive, negative, margin, swap, reduction, p, eps, False)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, ...]:
        return _triplet_back(cache, dy)


def _distance_options(function: Callable | None) -> tuple[float, float, bool]:
    """Order, eps and keepdim of a distance; raises TypeError for one that torch does not show."""
    if function in (None, torch.pairwise_distance):
        return 2.0, 1e-6, False
    if isinstance(function, nn.PairwiseDistance):
        return function.norm, function.eps, function.keepdim
    raise TypeError("a distance function of the user's")


class TripletMarginWithDistanceLoss(Rule, functions=[F.triplet_margin_with_distance_loss], cancels=True):
    """`TripletMarginLoss` with a distance of one's own: the Euclidean one without any, or an nn.PairwiseDistance.

    Derivation. As for `TripletMarginLoss`. Any other distance is code that torch does not show: no rule.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        a, p, n = torch.randn(3, 4, 2).unbind()  # (4, 2) each
        for reduction in REDUCTIONS:
            yield case(reduction, a, p, n, reduction=reduction)
        yield case("function", a, p, n, distance_function=F.pairwise_distance, margin=2.0, swap=True)
        module = nn.PairwiseDistance(3, eps=0.01, keepdim=True)
        yield case("module", a, p, n, distance_function=module, margin=2.0, reduction="none")

    @staticmethod
    def kinks(
        anchor: Tensor,
        positive: Tensor,
        negative: Tensor,
        distance_function: Callable | None,
        margin: float,
        swap: bool,
        **_: Any,
    ) -> int:
        order, eps, _keepdim = _distance_options(distance_function)
        return _triplet_kinks(anchor, positive, negative, margin, swap, order, eps)

    @staticmethod
    def forward(
        anchor: Tensor,
        positive: Tensor,
        negative: Tensor,
        *,
        distance_function: Callable | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        options = _distance_options(distance_function)
        return _triplet(anchor, positive, negative, margin, swap, reduction, *options)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, ...]:
        return _triplet_back(cache, dy)
