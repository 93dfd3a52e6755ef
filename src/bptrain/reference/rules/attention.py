"""Scaled dot-product attention: every query takes a mean of the values, weighted by how well their keys match it.

    s = scale q k^T + m,   w = softmax(s) over the keys,   y = (d * w) v

with q (*, L, E), k (*, S, E), v (*, S, V), s and w (*, L, S), y (*, L, V). m is 0 where a query sees a key, minus
infinity where it does not, and anything a float mask adds. d is 1, or a dropout mask of 0 and 1 / (1 - p).

Derivation. The product rule gives dv = (d * w)^T dy and dw = d * dy v^T, softmax gives ds = w * (dw - sum_keys dw * w),
and from s follow dm = ds, dq = scale ds k, dk = scale ds^T q, each summed over the axes along which it was repeated.
Convention: a query that sees no key has y = 0 and no gradient (torch's safe softmax).
Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017, equation 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.softmax import softmax, softmax_gradient


def hidden(mask: Tensor, like: Tensor) -> Tensor:
    """0, or minus infinity where the boolean `mask` is true."""
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)


def future(q: Tensor, k: Tensor) -> Tensor:
    """True (L, S) where key j is later than query i: j > i, both counted from 0."""
    i, j = (torch.arange(x.shape[-2], device=q.device) for x in (q, k))
    return j > i[:, None]


def safe_softmax(s: Tensor) -> Tensor:
    """softmax over the last axis, and 0 where all of it is minus infinity."""
    return softmax(s, -1).masked_fill(s.amax(-1, keepdim=True) == -torch.inf, 0)


def kept(again: Callable, q: Tensor, k: Tensor, p: float, **options: Any) -> Tensor:
    """The d (*, L, S) that the call drew: attention to nothing in particular, with the unit vectors as values."""
    if q.device.type != "cpu":
        raise TypeError("dropout inside a fused attention kernel hides its mask")
    units = torch.eye(k.shape[-2], dtype=q.dtype, device=q.device).expand(*k.shape[:-1], -1)  # (*, S, S)
    function = F.scaled_dot_product_attention
    shown = again(torch.zeros_like(q), torch.zeros_like(k), units, None, p, function=function, **options)
    return (shown != 0).to(q.dtype) / (1 - p if p < 1 else 1)


def attend(w: Tensor, v: Tensor, d: Tensor | None) -> tuple[Tensor, Tensor]:
    """The weights after dropout and the mean of the values: (*, L, S), (*, L, V)."""
    dropped = w if d is None else d * w
    return dropped, dropped @ v


def attend_back(w: Tensor, v: Tensor, d: Tensor | None, dy: Tensor, ddropped: Tensor | float = 0) -> tuple[Tensor, ...]:
    """ds and dv from dy and from the gradient of the weights after dropout."""
    dw = dy @ v.transpose(-2, -1) + ddropped
    dv = (w if d is None else d * w).transpose(-2, -1) @ dy
    return softmax_gradient(w, dw if d is None else d * dw, -1), dv


class ScaledDotProductAttention(Rule, functions=[F.scaled_dot_product_attention], random=True, cancels=True):
    """y = (d * softmax(scale q k^T + m)) v; `scale` is 1 / sqrt(E) unless given.

    A boolean `attn_mask` is true where a query sees a key, a float one is added; it broadcasts against (*, L, S).
    `is_causal` hides what is later than the query. With `enable_gqa` each head of k and v serves a group of
    neighbouring heads of q (axis -3). Derivation. See the top of this file; a head shared by several queries gets the
    sum of their gradients.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        q, k, v = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 5), torch.randn(2, 3, 6, 5)
        yield case("all seen", q, k, v)
        seen = torch.rand(4, 6) > 0.3
        seen[2] = False
        yield case("boolean mask", q, k, v, seen)
        yield case("float mask", q, k, v, torch.randn(2, 1, 4, 6))
        yield case("causal", q, k, v, is_causal=True)
        yield case("causal, fewer keys", k, q, torch.randn(2, 3, 4, 5), is_causal=True)
        yield case("scale", q, k, v, scale=0.3)
        yield case("matrices, wide values", q[0, 0], k[0, 0], torch.randn(6, 2))
        heads = torch.randn(2, 2, 6, 5), torch.randn(2, 2, 6, 5)
        yield case("grouped heads", torch.randn(2, 4, 3, 5), *heads, enable_gqa=True)
        yield case("grouped heads, dropout", torch.randn(2, 4, 3, 5), *heads, dropout_p=0.4, enable_gqa=True)
        yield case("dropout", q, k, v, torch.randn(4, 6), 0.3)
        yield case("dropout, causal", q, k, v, dropout_p=0.3, is_causal=True)
        yield case("dropout of everything", q, k, v, dropout_p=1.0)

    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
        again: Callable,
    ) -> tuple[Tensor, Any]:
        if scale is None:
            scale = 1 / math.sqrt(query.shape[-1])
        d = kept(again, query, key, dropout_p, enable_gqa=enable_gqa) if dropout_p else None
        copies = [query.shape[-3] // x.shape[-3] if enable_gqa else 1 for x in (key, value)]
        k, v = (x.repeat_interleave(n, -3) if n > 1 else x for x, n in zip((key, value), copies, strict=True))
        s = scale * query @ k.transpose(-2, -1)
        if attn_mask is not None:
            s = s + (attn_mask if attn_mask.is_floating_point() else hidden(~attn_mask, s))
        if is_causal:
            s = s + hidden(future(query, key), s)
        w = safe_softmax(s)
        _, y = attend(w, v, d)
        return y, (query, key, value, k, v, copies, w, d, scale, attn_mask)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, k, v, copies, w, d, scale, attn_mask = cache
        ds, dv = attend_back(w, v, d, dy)
        dq, dk = scale * ds @ k, scale * ds.transpose(-2, -1) @ query
        # The copies of a head stand side by side.
        dk, dv = (g.unflatten(-3, (-1, n)).sum(-3) if n > 1 else g for g, n in zip((dk, dv), copies, strict=True))
        dmask = sum_to(ds, attn_mask.shape) if attn_mask is not None and attn_mask.is_floating_point() else None
        return sum_to(dq, query.shape), sum_to(dk, key.shape), sum_to(dv, value.shape), dmask
