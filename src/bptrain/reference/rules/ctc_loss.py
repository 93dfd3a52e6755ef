"""Connectionist temporal classification: the probability that a sequence of class probabilities spells a target.

A path takes one class a step; it spells the target when that is left after repeats are merged and blanks dropped.
With p_t(c) the probability of class c at step t, U the length of the target and l' the target with a blank around
each class, 2 U + 1 states, a path is at step t in one state s. The sum of the products of p over all ways up to,
and without, step t is
    a_t(s) = q(s) + q(s-1) + q(s-2) [l'_s != l'_(s-2)]   with q(s) = a_(t-1)(s) p_(t-1)(l'_s)
and a_0(s) = 1 in the first two states, else 0. What follows step t is b_t(s), the same sum over sequence and states
read from their ends. Hence for every t
    l = -log z,   z = sum_s a_t(s) p_t(l'_s) b_t(s)

Derivation. In this sum p_t(c) is a factor of the terms with l'_s = c, so
    dl/dlog p_t(c) = -g_t(c),   g_t(c) = (1 / z) sum_(s: l'_s = c) a_t(s) p_t(c) b_t(s)
which is the share of paths that are at class c at step t. With p = softmax(x) the chain rule turns that into p - g
for x. All is computed in logarithms.
Source: Graves, Fernandez, Gomez and Schmidhuber, ICML 2006, equations 6 to 16; F.ctc_loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.loss_reduction import reduced, term_gradient


def _log_sum(x: Tensor, dim: int) -> Tensor:
    """log sum exp along `dim`; minus infinity where all are."""
    top = x.amax(dim, keepdim=True)
    top = torch.where(top == -torch.inf, 0, top)
    return (top + torch.log(torch.exp(x - top).sum(dim, keepdim=True))).squeeze(dim)


def _states(targets: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """l' of each sequence (N, 2 U + 1), for the longest U; targets (N, at least U), or all in a row."""
    place = torch.arange(int(lengths.max()), device=lengths.device)
    inside = place < lengths[:, None]  # (N, U)
    states = torch.full((len(lengths), 2 * len(place) + 1), blank, device=lengths.device)
    width = lengths if targets.dim() == 1 else torch.full_like(lengths, targets.shape[1])
    first = torch.cumsum(width, 0) - width  # where each target starts in one row of all
    states[:, 1::2][inside] = targets.reshape(-1)[(first[:, None] + place)[inside]].to(states)
    return states


def _ways(log_p: Tensor, states: Tensor) -> Tensor:
    """log a (T, N, 2 U + 1), from log p of the states in the same shape."""
    closed = torch.full_like(log_p[0], -torch.inf)  # (N, 2 U + 1)
    start, skip = closed.clone(), closed.clone()
    start[:, :2] = 0
    skip[:, 2:][states[:, 2:] != states[:, :-2]] = 0
    a = [start]
    for log_p_t in log_p[:-1]:
        q = a[-1] + log_p_t
        one, two = (torch.cat([closed[:, :n], q], 1)[:, : q.shape[1]] for n in (1, 2))  # q(s-1), q(s-2)
        a.append(_log_sum(torch.stack([q, one, two + skip]), 0))
    return torch.stack(a)


class CTCLoss(Rule, functions=[F.ctc_loss], cancels=True):
    """l (N) from log_probs (T, N, C), targets (N, the longest U or more) or all in one row, and their lengths (N).

    Without the axis N all is for one sequence. The mean is over l_n / max(U_n, 1). `zero_infinity` makes an infinite l,
    of a target that no path spells, 0 with the gradient 0; without it the gradient is NaN.
    Derivation. See the top of this file. Contract of torch: the gradient of log_probs is dl (p - g), not the derivative
    -dl g. log_softmax would turn that one into p - g, and leaves p - g as it is, since it sums to 0 over the classes:
    what is before a log_softmax gets the right gradient, what is before anything else does not.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        log_p = torch.randn(6, 3, 4).log_softmax(-1)
        targets = torch.tensor([[1, 1, 3], [2, 3, 0], [3, 0, 0]])
        steps, lengths = torch.tensor([6, 5, 3]), torch.tensor([3, 2, 1])
        for reduction in ("mean", "sum", "none"):
            yield case(reduction, log_p, targets, steps, lengths, reduction=reduction, smooth=False)
        yield case("in a row", log_p, torch.tensor([1, 1, 3, 2, 3, 3]), (6, 5, 3), (3, 2, 1), smooth=False)
        yield case("blank", log_p, targets % 3, steps, lengths, 3, smooth=False)
        yield case("no target", log_p, targets, steps, torch.tensor([0, 2, 0]), smooth=False)
        yield case("no steps", log_p, targets, (6, 0, 3), (3, 0, 1), smooth=False)
        yield case("no targets", log_p, targets[:, :0], (6, 5, 1), (0, 0, 0), smooth=False)
        yield case("one sequence", log_p[:, 0], targets[0], steps[0], lengths[0], smooth=False)
        yield case("one sequence, kept", log_p[:, 0], targets[0, :2], (5,), (2,), reduction="none", smooth=False)
        short = torch.tensor([3, 2, 6])
        yield case("zero infinity", log_p, targets, short, lengths, zero_infinity=True, smooth=False)

    @staticmethod
    def contract(*args: Any, **kwargs: Any) -> str:
        return "log_probs are taken to be normalised: the gradient is p - g"

    @staticmethod
    def forward(
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: Any,
        target_lengths: Any,
        blank: int = 0,
        reduction: str = "mean",
        zero_infinity: bool = False,
    ) -> tuple[Tensor, Any]:
        log_p = log_probs if log_probs.dim() == 3 else log_probs[:, None]  # (T, N, C)
        T, device = len(log_p), log_p.device
        ends, lengths = (torch.as_tensor(n, device=device).reshape(-1) for n in (input_lengths, target_lengths))
        states = _states(targets.to(device), lengths, blank)
        t, n, s = (torch.arange(size, device=device) for size in (*log_p.shape[:2], states.shape[1]))
        within = t[:, None] < ends  # (T, N)
        inside = within[..., None] & (s <= 2 * lengths[:, None])  # (T, N, 2 U + 1)
        # The index that reads a sequence and its states from their ends; what lies outside goes anywhere.
        turn = (ends - 1 - t[:, None]).clamp(min=0)[..., None], n[:, None], (2 * lengths[:, None] - s).clamp(min=0)

        log_ps = log_p.gather(2, states.expand(T, -1, -1))
        a = _ways(log_ps, states)
        b = _ways(log_ps[turn], states[turn[1:]])[turn]
        paths = torch.where(inside, a + log_ps + b, -torch.inf)
        log_z = torch.where((ends == 0) & (lengths == 0), 0, _log_sum(paths[0], 1))  # (N)
        g = torch.zeros_like(log_p).scatter_add(2, states.expand(T, -1, -1), torch.exp(paths - log_z[:, None]))
        hopeless = log_z == -torch.inf
        slope = torch.where(hopeless[:, None], 0 if zero_infinity else torch.nan, torch.exp(log_p) - g)
        slope = torch.where(within[..., None], slope, 0)
        terms = torch.where(hopeless & zero_infinity, 0, -log_z)  # (N)
        share = lengths.clamp(min=1) if reduction == "mean" else torch.ones_like(lengths)
        y = reduced(terms / share, reduction, len(terms))
        batched = log_probs.dim() == 3
        return y if batched or reduction != "none" else y[0], (slope, share, reduction, batched)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        slope, share, reduction, batched = cache
        dl = term_gradient(dy, reduction, len(share)) / share  # (N)
        dlog_p = dl[:, None] * slope
        return dlog_p if batched else dlog_p[:, 0]
