"""The simple recurrent network of Elman: h_t = f(a_t + q_t), with f the tanh or the ReLU.

Shapes, layers and the way back through time are those of `recurrent`, with one gate: G = H.

Derivation. With s_t = a_t + q_t the chain rule gives ds_t = dh_t f'(s_t), and da_t = dq_t = ds_t. Both slopes
are known from h_t: tanh' = 1 - h_t^2, and ReLU' = 1 where h_t > 0, else 0, also at the kink s_t = 0 as in torch.
Source: Elman, Cognitive Science 14 (1990); torch.nn.RNN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
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
from bptrain.reference.rules.sigmoid import tanh


def _forward(f: Callable[[Tensor], Tensor], a: Tensor, state: State, U: Tensor, c: Tensor) -> tuple[Tensor, State, Any]:
    (h,) = state
    outputs = []
    for a_t in a + c:
        h = f(a_t + h @ U.transpose(0, 1))
        outputs.append(h)
    y = torch.stack(outputs)  # (T, B, H)
    return y, (h,), (y, U)


def _backward(slope: Tensor, U: Tensor, dh: Tensor, dfinal: State) -> tuple[Any, ...]:
    (later,) = dfinal  # from the steps after this one
    ds = torch.empty_like(dh)
    for t in reversed(range(len(dh))):
        ds[t] = (dh[t] + later) * slope[t]
        later = ds[t] @ U
    return ds, ds, (later,)


def _tanh_forward(a: Tensor, state: State, U: Tensor, c: Tensor) -> tuple[Tensor, State, Any]:
    return _forward(tanh, a, state, U, c)


def _tanh_backward(cache: Any, dh: Tensor, dfinal: State) -> tuple[Any, ...]:
    y, U = cache
    return _backward(1 - y**2, U, dh, dfinal)


def _relu_forward(a: Tensor, state: State, U: Tensor, c: Tensor) -> tuple[Tensor, State, Any]:
    return _forward(lambda s: s.clamp(min=0), a, state, U, c)


def _relu_backward(cache: Any, dh: Tensor, dfinal: State) -> tuple[Any, ...]:
    y, U = cache
    return _backward((y > 0).to(y.dtype), U, dh, dfinal)


TANH = Cell(_tanh_forward, _tanh_backward)
RELU = Cell(_relu_forward, _relu_backward)


class RNN(Rule):
    """What both layered networks share."""

    arranged = staticmethod(sizes_last)

    @staticmethod
    def backward(cache: Any, dy: Any) -> tuple[Any, ...]:
        dx, (dhx,), dparams = layers_back(cache, dy[0], dy[1:])
        return dx, dhx, dparams


class RNNTanh(RNN, functions=[torch.rnn_tanh], random=True, cancels=True):
    """h_t = tanh(W x_t + b + U h_(t-1) + c). Derivation. See the top of this file."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return layer_cases(gates=1, states=1)

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
        return layers(TANH, input, (hx,), params, *options, again)


class RNNRelu(RNN, functions=[torch.rnn_relu], random=True):
    """h_t = max(W x_t + b + U h_(t-1) + c, 0). Derivation. See the top of this file."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield from layer_cases(gates=1, states=1)
        zeros = [torch.zeros(3, 2), torch.eye(3), torch.zeros(3), torch.zeros(3)]
        yield case(
            "kink", torch.randn(2, 1, 2), torch.zeros(1, 1, 3), zeros, True, 1, 0.0, True, False, False, smooth=False
        )

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
        return layers(RELU, input, (hx,), params, *options, again)


class RNNCell(Rule):
    """One step, the way back that both cells share."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return step_cases(gates=1, states=1)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Any, ...]:
        dx, (dhx,), dweights = step_back(cache, (dy,))
        return dx, dhx, *dweights


class RNNTanhCell(RNNCell, functions=[torch.rnn_tanh_cell], cancels=True):
    """h' = tanh(W x + b + U h + c). Derivation. See the top of this file."""

    @staticmethod
    def forward(
        input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        (h,), cache = step(TANH, input, (hx,), w_ih, w_hh, b_ih, b_hh)
        return h, cache


class RNNReluCell(RNNCell, functions=[torch.rnn_relu_cell]):
    """h' = max(W x + b + U h + c, 0). Derivation. See the top of this file."""

    @staticmethod
    def forward(
        input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        (h,), cache = step(RELU, input, (hx,), w_ih, w_hh, b_ih, b_hh)
        return h, cache
