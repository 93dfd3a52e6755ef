"""L-BFGS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from bptrain.reference.optimizers.line_search import Point, strong_wolfe
from bptrain.reference.update import Evaluate, Options, State, Update

FLATTEST = 1e-10  # the least s y at which a pair says anything of the curvature


class LBFGS(Update, optimizers=[torch.optim.LBFGS], closure=True, mixes=True):
    """Up to max_iter iterations x' = x + t d, with d = -H g, x all parameters in a row and H the inverse Hessian.

    H is built from the last `history_size` pairs of s = t d, the step, and y, the change of g, onto
    H0 = (s y / y y) I; the first d is -g. t is lr (at the very first iteration lr min(1, 1 / sum|g|)), or found from
    there by a line search. It ends when max|g| <= tolerance_grad, when the slope g d, the step or the change of the
    loss is within tolerance_change, or after max_eval evaluations.
    Derivation. BFGS: H' = (I - r s y^T) H (I - r y s^T) + r s s^T with r = 1 / s y is the symmetric matrix nearest to
    H that has H' y = s. Applied to g it needs no matrix: going from the newest pair to the oldest
    a_i = r_i s_i q, q <- q - a_i y_i; then q <- H0 q; and back, q <- q + (a_i - r_i y_i q) s_i.
    torch passes no tolerance to the line search, whose own is 1e-9.
    Source: Nocedal, Mathematics of Computation 35 (1980); Liu and Nocedal, Mathematical Programming 45 (1989).
    """

    @staticmethod
    def cases() -> Iterable[Options]:
        yield {"lr": 0.3}
        yield {"lr": 0.5, "max_iter": 4, "history_size": 2}
        yield {"lr": 1.0, "line_search_fn": "strong_wolfe", "max_iter": 6}
        yield {"lr": 30.0, "line_search_fn": "strong_wolfe", "history_size": 3}
        yield {"lr": 1e-3, "line_search_fn": "strong_wolfe", "max_eval": 7}
        yield {"lr": 0.5, "max_eval": 3, "tolerance_grad": 1e-3, "tolerance_change": 1e-2}

    @staticmethod
    def start(w: Tensor, **options: float) -> State:
        return {}

    @staticmethod
    def step(
        parameters: tuple[Tensor, ...],
        evaluate: Evaluate,
        state: State,
        *,
        lr: float,
        max_iter: int,
        max_eval: int,
        tolerance_grad: float,
        tolerance_change: float,
        history_size: int,
        line_search_fn: Literal["strong_wolfe"] | None,
    ) -> tuple[tuple[Tensor, ...], State]:
        def at(x: Tensor) -> tuple[float, Tensor]:
            loss, gradients = evaluate(tuple(_pieces(x, parameters)))
            return float(loss), torch.cat([g.reshape(-1) for g in gradients])

        x = torch.cat([w.reshape(-1) for w in parameters])  # (N)
        loss, g = at(x)
        evaluations, done, iteration = 1, int(state.get("func_evals", 0)), int(state.get("n_iter", 0))
        if g.abs().max() <= tolerance_grad:
            return parameters, {"n_iter": 0, **state, "func_evals": done + 1}
        kept: Any = [state.get(name) for name in ("d", "t", "prev_flat_grad", "prev_loss")]
        d, t, previous, before = kept
        pairs = list(zip(*(state.get(name, ()) for name in ("old_dirs", "old_stps", "ro")), strict=True))  # y, s, r
        scale: Any = state.get("H_diag")
        for left in reversed(range(max_iter)):
            iteration += 1
            if iteration == 1:
                d, pairs, scale = -g, [], 1
            else:
                y, s = g - previous, d * t
                if (curvature := y.dot(s)) > FLATTEST:
                    pairs = [*pairs, (y, s, 1 / curvature)][-history_size:]
                    scale = curvature / y.dot(y)
                d = _direction(g, pairs, scale)
            previous, before = g, loss
            t = lr * (1 / g.abs().sum()).clamp(max=1.0) if iteration == 1 else lr
            slope = g.dot(d)
            if slope > -tolerance_change:
                break
            if line_search_fn is not None:

                def along(t: Any, x: Tensor = x, d: Tensor = d) -> Point:
                    loss, g = at(x + t * d)
                    return Point(t, loss, g, g.dot(d))

                origin = Point(0, loss, g, slope)
                (t, loss, g, _), more = strong_wolfe(along, origin, t, d.abs().max(), max_eval - evaluations)
                x, evaluations = x + t * d, evaluations + more
            else:
                x = x + t * d
                if left:  # what the last iteration leads to is for the next step to see
                    (loss, g), evaluations = at(x), evaluations + 1
            if evaluations >= max_eval or g.abs().max() <= tolerance_grad:
                break
            if (d * t).abs().max() <= tolerance_change or abs(loss - before) < tolerance_change:
                break
        return tuple(_pieces(x, parameters)), {
            "func_evals": done + evaluations,
            "n_iter": iteration,
            "d": d,
            "t": t,
            "old_dirs": [y for y, _, _ in pairs],
            "old_stps": [s for _, s, _ in pairs],
            "ro": [r for _, _, r in pairs],
            "H_diag": scale,
            "prev_flat_grad": previous,
            "prev_loss": before,
        }


def _direction(g: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]], scale: Any) -> Tensor:
    """-H g by the recursion of two loops."""
    q, shares = -g, []
    for y, s, r in reversed(pairs):
        share = r * s.dot(q)
        q = q - share * y
        shares.append(share)
    q = scale * q
    for (y, s, r), share in zip(pairs, reversed(shares), strict=True):
        q = q + (share - r * y.dot(q)) * s
    return q


def _pieces(x: Tensor, like: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """The row of all elements cut into the shapes that it was made of."""
    start = 0
    for w in like:
        yield x[start : start + w.numel()].reshape(w.shape)
        start += w.numel()
