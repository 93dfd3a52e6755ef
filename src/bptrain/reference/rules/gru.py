"""Gated recurrent units, in torch's variant: gates in the order r, z, n, so G = 3 H.

    r = sigmoid(a_r + q_r)           reset gate
    z = sigmoid(a_z + q_z)           update gate
    n = tanh(a_n + r * q_n)          candidate
    h_t = (1 - z) * n + z * h_(t-1)

Cho et al. (2014) reset the state before the product, U_n (r * h); torch, as cuDNN, resets the product and its
bias, r * (U_n h + c_n), so that one product with U serves all three gates. Cho's z is 1 - z here.
Shapes, layers and the way back through time are those of `recurrent`.

Derivation. With e = dh_t, the chain rule through the three lines, each gate with sigmoid' = y (1 - y):
    da_n = e (1 - z) (1 - n^2)
    da_z = e (h_(t-1) - n) z (1 - z)
    da_r = da_n q_n r (1 - r)
    dq_n = da_n r,   dq_z = da_z,   dq_r = da_r
and h_(t-1) gets e * z + dq U. All is linear in e: its factors are computed for every step at once beforehand, and the
loop over time is only e -> e * z + (e * factors) U.
Source: Cho et al., EMNLP 2014, equations 5 to 8; torch.nn.GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule
from bptrain.reference.rules.recurrent import (
    Cell,
    State,
    layer_cases,
    layers,
    layers_back,
    sizes_last,
    step,
    step_back,
    step_cases,
)
from bptrain.reference.rules.sigmoid import sigmoid, tanh


def _forward(a: Tensor, state: State, U: Tensor, c: Tensor) -> tuple[Tensor, State, Any]:
    (h,) = state
    H = h.shape[-1]
    steps: list[State] = []
    for a_t in a:
        q = h @ U.transpose(0, 1) + c  # (B, 3 H)
        rz = sigmoid(a_t[:, : 2 * H] + q[:, : 2 * H])  # (B, 2 H)
        q_n = q[:, 2 * H :]  # (B, H)
        n = tanh(a_t[:, 2 * H :] + rz[:, :H] * q_n)  # (B, H)
        h = n + rz[:, H:] * (h - n)
        steps.append((h, rz, n, q_n))
    y, rz, n, q_n = map(torch.stack, zip(*steps, strict=True))  # (T, B, H), rz (T, B, 2 H)
    r, z = rz.chunk(2, -1)  # (T, B, H) each
    before = torch.cat([state[0][None], y[:-1]])  # (T, B, H)
    by_n = (1 - z) * (1 - n**2)
    by_z = (before - n) * z * (1 - z)
    by_r = by_n * q_n * r * (1 - r)
    da_by = torch.stack([by_r, by_z, by_n], 2)  # (T, B, 3, H)
    dq_by = torch.stack([by_r, by_z, by_n * r], 2)  # (T, B, 3, H)
    return y, (h,), (da_by, dq_by, z, U)


def _backward(cache: Any, dh: Tensor, dfinal: State) -> tuple[Any, ...]:
    da_by, dq_by, z, U = cache
    (later,) = dfinal  # from the steps after this one
    e = torch.empty_like(dh)
    for t in reversed(range(len(dh))):
        e[t] = dh[t] + later
        later = e[t] * z[t] + (e[t][:, None] * dq_by[t]).flatten(1) @ U  # (B, 3, H) -> (B, 3 H) -> (B, H)
    da, dq = ((e[:, :, None] * by).flatten(2) for by in (da_by, dq_by))  # (T, B, 3 H)
    return da, dq, (later,)


CELL = Cell(_forward, _backward)


class GRU(Rule, functions=[torch.gru], random=True, cancels=True):
    """Layers of gated recurrent units. Derivation. See the top of this file."""

    arranged = staticmethod(sizes_last)

    @staticmethod
    def cases() -> Iterable[Case]:
        return layer_cases(gates=3, states=1)

    @staticmethod
    def forward(
        input: Tensor,
        hx: Tensor,
        params: Sequence[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool = False,
        batch_sizes: Tensor | None = None,
        *,
        again: Callable,
    ) -> tuple[Any, Any]:
        options = has_biases, num_layers, dropout, train, bidirectional, batch_first, batch_sizes
        return layers(CELL, input, (hx,), params, *options, again)

    @staticmethod
    def backward(cache: Any, dy: Any) -> tuple[Any, ...]:
        dx, (dhx,), dparams = layers_back(cache, dy[0], dy[1:])
        return dx, dhx, dparams


class GRUCell(Rule, functions=[torch.gru_cell], cancels=True):
    """One step of gated recurrent units. Derivation. See the top of this file."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return step_cases(gates=3, states=1)

    @staticmethod
    def forward(
        input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        (h,), cache = step(CELL, input, (hx,), w_ih, w_hh, b_ih, b_hh)
        return h, cache

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Any, ...]:
        dx, (dhx,), dweights = step_back(cache, (dy,))
        return dx, dhx, *dweights
