"""Long short-term memory: gates in torch's order i, f, g, o, so G = 4 H, and with s = a_t + q_t

    i = sigmoid(s_i),  f = sigmoid(s_f),  g = tanh(s_g),  o = sigmoid(s_o)      input, forget, candidate, output
    c_t = f * c_(t-1) + i * g
    m_t = o * tanh(c_t),   h_t = m_t, or P m_t where there is a projection P (P, H)

The state is (h, c), with h (B, P or H) and c (B, H). Shapes, layers and the way back through time are those of
`recurrent`.

Derivation. dm_t = dh_t, or dh_t P with a projection, whose own gradient is dP = sum_t dh_t^T m_t. The cell state
c_t reaches the loss through m_t and through c_(t+1) = f_(t+1) c_t + ..., so
    dc_t = dm_t o (1 - tanh(c_t)^2) + dc_(t+1) f_(t+1)
(the sum that lets errors pass through time unchanged where f = 1: the constant error carousel), and with
sigmoid' = y (1 - y), tanh' = 1 - y^2
    ds_i = dc_t g i (1 - i),   ds_f = dc_t c_(t-1) f (1 - f),   ds_g = dc_t i (1 - g^2),
    ds_o = dm_t tanh(c_t) o (1 - o),   da_t = dq_t = ds_t.
The factors of dc_t and dm_t are computed for every step at once beforehand.
Source: Hochreiter and Schmidhuber, Neural Computation 9 (1997); the forget gate: Gers, Schmidhuber and Cummins, Neural
Computation 12 (2000); the projection: Sak, Senior and Beaufays, Interspeech 2014; torch.nn.LSTM.
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


def _forward(
    a: Tensor, state: State, U: Tensor, bias: Tensor, projection: Tensor | None = None
) -> tuple[Tensor, State, Any]:
    h, c = state
    H = c.shape[-1]
    steps: list[State] = []
    for a_t in a + bias:
        s = a_t + h @ U.transpose(0, 1)  # (B, 4 H)
        i, f, _, o = sigmoid(s).chunk(4, -1)  # (B, H) each
        g = tanh(s[:, 2 * H : 3 * H])  # (B, H)
        c = f * c + i * g
        squashed = tanh(c)
        h = o * squashed
        if projection is not None:
            h = h @ projection.transpose(0, 1)  # (B, P)
        steps.append((h, c, i, f, g, o, squashed))
    y, cells, i, f, g, o, squashed = map(torch.stack, zip(*steps, strict=True))  # (T, B, H), y (T, B, P or H)
    before = torch.cat([state[1][None], cells[:-1]])  # (T, B, H)
    ds_by = torch.stack([g * i * (1 - i), before * f * (1 - f), i * (1 - g**2), squashed * o * (1 - o)], 2)
    return y, (h, c), (ds_by, o * (1 - squashed**2), f, o * squashed, U, projection)


def _backward(cache: Any, dh: Tensor, dfinal: State) -> tuple[Any, ...]:
    ds_by, dc_by, f, m, U, projection = cache
    later_h, later_c = dfinal  # from the steps after this one
    whole = torch.empty_like(dh)  # dh_t with what comes from later
    ds = torch.empty_like(ds_by)  # (T, B, 4, H)
    for t in reversed(range(len(dh))):
        whole[t] = dh[t] + later_h
        dm = whole[t] if projection is None else whole[t] @ projection  # (B, H)
        dc = dm * dc_by[t] + later_c
        ds[t] = torch.stack([dc, dc, dc, dm], 1) * ds_by[t]  # (B, 4, H)
        later_h = ds[t].flatten(1) @ U  # (B, 4 H) -> (B, P or H)
        later_c = dc * f[t]
    ds = ds.flatten(2)  # (T, B, 4 H)
    dprojection = [] if projection is None else [whole.flatten(0, 1).transpose(0, 1) @ m.flatten(0, 1)]  # (P, H)
    return ds, ds, (later_h, later_c), *dprojection


CELL = Cell(_forward, _backward)


class LSTM(Rule, functions=[torch.lstm], random=True, cancels=True):
    """Layers of long short-term memory; `hx` is (h, c). Derivation. See the top of this file."""

    arranged = staticmethod(sizes_last)

    @staticmethod
    def cases() -> Iterable[Case]:
        return layer_cases(gates=4, states=2)

    @staticmethod
    def forward(
        input: Tensor,
        hx: Sequence[Tensor],
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
        return layers(CELL, input, tuple(hx), params, *options, again)

    @staticmethod
    def backward(cache: Any, dy: Any) -> tuple[Any, ...]:
        dx, dhx, dparams = layers_back(cache, dy[0], dy[1:])
        return dx, list(dhx), dparams


class LSTMCell(Rule, functions=[torch.lstm_cell], cancels=True):
    """One step of long short-term memory; `hx` and the result are (h, c). Derivation. See the top of this file."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return step_cases(gates=4, states=2)

    @staticmethod
    def forward(
        input: Tensor,
        hx: Sequence[Tensor],
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor | None = None,
        b_hh: Tensor | None = None,
    ) -> tuple[Any, Any]:
        return step(CELL, input, tuple(hx), w_ih, w_hh, b_ih, b_hh)

    @staticmethod
    def backward(cache: Any, dy: Any) -> tuple[Any, ...]:
        dx, dhx, dweights = step_back(cache, tuple(dy))
        return dx, list(dhx), *dweights
