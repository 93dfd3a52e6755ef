"""Multi-head attention, the function behind nn.MultiheadAttention: projections, attention in heads, a projection.

    q = query Wq^T + bq,   k = key Wk^T + bk,   v = value Wv^T + bv        split along E into H heads of size D = E / H
    w = softmax(q k^T / sqrt(D) + m),   a = (d * w) v                      in each head
    y = [a of all heads] Wo^T + bo

query (L, B, E), key (S, B, K), value (S, B, V), or without the axis B; y (L, B, E). `bias_k` and `bias_v` (1, 1, E)
are one more key and value for every sequence, `add_zero_attn` yet another of zeros; neither mask hides them.

Derivation. Three `Linear` on the way in, one on the way out, and `attention` between them; gradients of heads are
joined as the heads were split, and an added key and value gets the sum over the batch.
Source: Vaswani et al., NeurIPS 2017, section 3.2.2; F.multi_head_attention_forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.attention import attend, attend_back, future, hidden, kept, safe_softmax
from bptrain.reference.rules.linear import Linear
from bptrain.reference.rules.softmax import softmax


def _heads(x: Any, count: int) -> Tensor:
    return x.unflatten(-1, (count, -1)).permute(1, 2, 0, 3)  # (S, B, E) -> (B, H, S, D)


def _joined(x: Tensor) -> Tensor:
    return x.permute(2, 0, 1, 3).flatten(2)  # (B, H, S, D) -> (S, B, E)


def _added(mask: Tensor, s: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A mask as numbers to add to the scores, in `shape`, which broadcasts against theirs; 0 for the added keys."""
    m = (mask if mask.is_floating_point() else hidden(mask, s)).reshape(shape)
    return torch.cat([m, m.new_zeros(*shape[:-1], s.shape[-1] - shape[-1])], -1)


def _mask_gradient(mask: Tensor, shape: tuple[int, ...], ds: Tensor) -> Tensor | None:
    if not mask.is_floating_point():
        return None
    return sum_to(ds[..., : shape[-1]], torch.Size(shape)).reshape(mask.shape)


def _dropped(again: Callable, q: Tensor, k: Tensor, p: float, need_weights: bool) -> Tensor:
    """The dropout mask that the call drew, in its own way for each of its two ways through, (B, H, L, S)."""
    if not need_weights:
        return kept(again, q, k, p)
    ones = q.new_full((*q.shape[:-1], k.shape[-2]), 1.0)
    return (again(ones, p, function=F.dropout) != 0).to(q.dtype) / (1 - p if p < 1 else 1)


class MultiHeadAttention(Rule, functions=[F.multi_head_attention_forward], random=True, cancels=True):
    """y, and the weights after dropout (B, H, L, S), or their mean over heads (B, L, S), with `need_weights`.

    The weights of a projection are a third of `in_proj_weight` (3 E, E) each, or apart with `use_separate_proj_weight`.
    A boolean mask is true where a key is hidden, a float one is added: `attn_mask` (L, S) or (B H, L, S),
    `key_padding_mask` (B, S). `is_causal` says that `attn_mask` is causal; it takes its place without `need_weights`
    and padding, and then hides the added keys too, which stand last. Convention: a query that sees no key has NaN for
    y with `need_weights`, and bo without.
    Derivation. See the top of this file; a gradient dA of the weights adds to that of d * w, and dA / H in each head
    for their mean.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        L, S, B, E, H = 3, 5, 2, 4, 2
        x = torch.randn(L, B, E), torch.randn(S, B, E), torch.randn(S, B, E)
        packed = torch.randn(3 * E, E), torch.randn(3 * E)
        out = torch.randn(E, E), torch.randn(E)
        extra = torch.randn(1, 1, E), torch.randn(1, 1, E)
        plain = (E, H, *packed, None, None, False, 0.0, *out)
        yield case("weights", *x, *plain)
        yield case("weights of each head", *x, *plain, average_attn_weights=False)
        yield case("fused", *x, *plain, need_weights=False)
        yield case(
            "no batch, no biases", *(t[:, 0] for t in x), E, H, packed[0], None, None, None, False, 0.0, out[0], None
        )
        yield case("no batch, fused", *(t[:, 0] for t in x), *plain, need_weights=False)
        seen, late = torch.rand(B * H, L, S) < 0.4, future(x[0][:, 0], x[1][:, 0])
        seen[:, :, 0] = False
        padding = torch.tensor([[False] * S, [False, False, False, True, True]])
        for weights in (True, False):
            way = "weights" if weights else "fused"
            full = (E, H, *packed, *extra, True, 0.4, *out)
            yield case(f"all masks, {way}", *x, *plain, True, padding, weights, seen)
            yield case(f"float masks, {way}", *x, *plain, True, torch.randn(B, S), weights, torch.randn(L, S))
            yield case(f"more keys, dropout, {way}", *x, *full, True, padding, weights, late)
            yield case(f"evaluation, {way}", *x, *full, False, None, weights, late)
            everything = E, H, *packed, None, None, False, 1.0, *out
            yield case(f"dropout of everything, {way}", *x, *everything, need_weights=weights)
            yield case(f"causal, {way}", *x, *plain, True, None, weights, seen, is_causal=True)
            yield case(f"causal, padding, {way}", *x, *plain, True, padding, weights, seen, is_causal=True)
            yield case(f"causal, more keys, {way}", *x, *full, False, None, weights, late, is_causal=True)
        apart = {f"{name}_proj_weight": torch.randn(E, n) for name, n in (("q", E), ("k", 3), ("v", 2))}
        wide = x[0], torch.randn(S, B, 3), torch.randn(S, B, 2)
        yield Case("apart", (*wide, E, H, None, *plain[3:]), {"use_separate_proj_weight": True, **apart})

    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        embed_dim_to_check: int,
        num_heads: int,
        in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None,
        bias_k: Tensor | None,
        bias_v: Tensor | None,
        add_zero_attn: bool,
        dropout_p: float,
        out_proj_weight: Tensor,
        out_proj_bias: Tensor | None,
        training: bool = True,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        use_separate_proj_weight: bool = False,
        q_proj_weight: Tensor | None = None,
        k_proj_weight: Tensor | None = None,
        v_proj_weight: Tensor | None = None,
        static_k: Tensor | None = None,
        static_v: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        again: Callable,
    ) -> tuple[Any, Any]:
        if static_k is not None or static_v is not None:
            raise TypeError("keys or values that bypass their projection")
        batched = query.dim() == 3
        inputs = [x if batched else x[:, None] for x in (query, key, value)]  # (L or S, B, E, K or V)
        apart = q_proj_weight, k_proj_weight, v_proj_weight
        weights: Any = apart if in_proj_weight is None else in_proj_weight.chunk(3)
        biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
        (q, k, v), into = zip(*map(Linear.forward, inputs, weights, biases), strict=True)
        (L, B, _), S = q.shape, len(k)
        if bias_k is not None and bias_v is not None:
            k, v = (torch.cat([x, b.expand(-1, B, -1)]) for x, b in ((k, bias_k), (v, bias_v)))  # (S + 1, B, E)
        if add_zero_attn:
            k, v = (torch.cat([x, torch.zeros_like(x[:1])]) for x in (k, v))  # (S + 1 or 2, B, E)
        q, k, v = (_heads(x, num_heads) for x in (q, k, v))

        s = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, L, S)
        masks: dict[str, tuple[Tensor, tuple[int, ...]]] = {}  # with the shape that broadcasts against the scores
        if is_causal and key_padding_mask is None and not need_weights:
            s = s + hidden(future(q, k), s)
        elif attn_mask is not None:
            masks["pairs"] = attn_mask, (1, 1, L, S) if attn_mask.dim() == 2 else (B, num_heads, L, S)
        if key_padding_mask is not None:
            masks["keys"] = key_padding_mask, (B, 1, 1, S)
        for mask, shape in masks.values():
            s = s + _added(mask, s, shape)
        w = softmax(s, -1) if need_weights else safe_softmax(s)
        d = _dropped(again, q, k, dropout_p, need_weights) if dropout_p and training else None
        shown, means = attend(w, v, d)
        y, out = Linear.forward(_joined(means), out_proj_weight, out_proj_bias)  # (L, B, E)
        y = y if batched else y[:, 0]
        options = batched, in_proj_weight is not None, bias_k is not None, average_attn_weights
        cache = options, into, S, (q, k, v, w, d), masks, out
        if not need_weights:
            return y, cache
        shown = shown.mean(1) if average_attn_weights else shown  # (B, L, S) or (B, H, L, S)
        return (y, shown if batched else shown[0]), cache

    @staticmethod
    def backward(cache: Any, dy: Any) -> tuple[Tensor | None, ...]:
        (batched, packed, more, averaged), into, S, (q, k, v, w, d), masks, out = cache
        dy, dshown = dy if isinstance(dy, tuple) else (dy, 0)
        if not batched:
            dy, dshown = dy[:, None], dshown[None] if isinstance(dshown, Tensor) else 0
        if averaged and isinstance(dshown, Tensor):
            dshown = dshown[:, None] / q.shape[1]  # (B, 1, L, S)
        djoined, *dout = Linear.backward(out, dy)
        ds, dv = attend_back(w, v, d, _heads(djoined, q.shape[1]), dshown)
        dproduct = ds / math.sqrt(q.shape[-1])
        dq, dk, dv = map(_joined, (dproduct @ k, dproduct.transpose(-2, -1) @ q, dv))
        dmore = [x[S : S + 1].sum(1, keepdim=True) if more else None for x in (dk, dv)]  # (1, 1, E)
        dinputs, dweights, dbiases = zip(*map(Linear.backward, into, (dq, dk[:S], dv[:S])), strict=True)
        dpacked, dapart = (torch.cat(dweights), ()) if packed else (None, dweights)
        dpacked_bias = None if dbiases[0] is None else torch.cat(dbiases)
        dmasks = {which: _mask_gradient(mask, shape, ds) for which, (mask, shape) in masks.items()}
        return (
            *(dx if batched else dx[:, 0] for dx in dinputs), None, None, dpacked, dpacked_bias, *dmore, None, None,
            *dout, None, dmasks.get("keys"), None, dmasks.get("pairs"), None, *dapart,
        )  # fmt: skip
