"""Recurrent networks: cells run over time, in layers and directions, and backpropagation through time.

At step t a cell makes two affine maps and from them, by its own formula, its new state:
    a_t = W x_t + b,   q_t = U h_(t-1) + c,   (h_t, ...) = cell(a_t, q_t, state_(t-1))
with x_t (B, I), h_t (B, H), W (G, I), U (G, H), b and c (G), and G = H times the number of gates.

Derivation (Werbos, Proc. IEEE 78 (1990), backpropagation through time). Unrolled over time the network is a
deep one whose layers share W, U, b and c. Step t reaches the loss through its output h_t and through step t+1,
so with dy_t the gradient of output t alone, the whole gradient of h_t is
    dh_t = dy_t + (what step t+1 sends back: dq_(t+1) U and, where the formula uses h_t itself, that way too)
and the last step gets the gradient of the final state instead. The cell's formula turns dh_t into da_t and dq_t.
A shared parameter gets the sum over the steps,
    dW = sum_t da_t^T x_t,  dU = sum_t dq_t^T h_(t-1),  db = sum_t da_t,  dc = sum_t dq_t,  dx_t = da_t W,
which is one product over all steps and sequences together; only the recursion itself is a loop.

A reverse direction is the same on the sequence read from its end. A layer's output is those of its directions
side by side; the next layer reads it, while training after dropout: y = m * x with a mask m of 0 and 1/(1-p),
so dx = m * dy. States are numbered layer by layer, and in a layer direction by direction.

Packed sequences of different lengths stand longest first, and step by step in one row (N, I): at step t the first
batch_sizes[t] of them are still there. Stretches of steps with the same sequences are sequences as above; a state is
handed from one to the next for those sequences that both have, and stays what it is for the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, case

State = tuple[Tensor, ...]
Stretch = tuple[int, int]  # steps T and sequences B


@dataclass(frozen=True)
class Cell:
    """The formula of a cell over all steps, given the input's share of them.

    forward(a (T, B, G), state of (B, H), U, c, *projection) -> h (T, B, H), final state, cache
    backward(cache, dh (T, B, H), dstate) -> da (T, B, G), dq (T, B, G), gradient of the first state, *dprojection
    """

    forward: Callable[..., tuple[Tensor, State, Any]]
    backward: Callable[[Any, Tensor, State], tuple[Any, ...]]


def scan(
    cell: Cell, x: Tensor, state: State, W: Tensor, U: Tensor, b: Tensor | None, c: Tensor | None, *projection: Tensor
) -> tuple[Tensor, State, Any]:
    """One direction of one layer over x (T, B, I): its outputs (T, B, H), its final state and a cache."""
    a = x @ W.transpose(0, 1)  # (T, B, G)
    if b is not None:
        a = a + b
    h, final, cache = cell.forward(a, state, U, U.new_zeros(len(U)) if c is None else c, *projection)
    before = torch.cat([state[0][None], h[:-1]])  # (T, B, H)
    return h, final, (cell, cache, x, before, W)


def scan_back(cache: Any, dh: Tensor, dfinal: State) -> tuple[Tensor, State, list[Tensor]]:
    """The gradients of x, of the first state, and of [W, U, b, c, *projection]."""
    cell, cell_cache, x, before, W = cache
    da, dq, dstate, *dprojection = cell.backward(cell_cache, dh, dfinal)
    inner, outer = (gradient.flatten(0, 1) for gradient in (da, dq))  # (T * B, G)
    dW = inner.transpose(0, 1) @ x.flatten(0, 1)  # (G, I)
    dU = outer.transpose(0, 1) @ before.flatten(0, 1)  # (G, H)
    return da @ W, dstate, [dW, dU, inner.sum(0), outer.sum(0), *dprojection]


def sweep(
    cell: Cell, x: Tensor, stretches: Sequence[Stretch], state: State, reverse: bool, *weights: Any
) -> tuple[Tensor, State, Any]:
    """One direction of one layer over x (N, I): its outputs (N, H), its final state (B, H), and a cache."""
    parts = _split(x, stretches)
    outputs, caches = list(parts), []
    for i in _order(stretches, reverse):
        steps, B = parts[i].flip(0) if reverse else parts[i], parts[i].shape[1]
        h, final, cache = scan(cell, steps, tuple(s[:B] for s in state), *weights)
        state = tuple(torch.cat([new, s[B:]]) for new, s in zip(final, state, strict=True))
        outputs[i] = h.flip(0) if reverse else h
        caches.append(cache)
    return _joined(outputs), state, (caches, stretches, reverse)


def sweep_back(cache: Any, dh: Tensor, dstate: State) -> tuple[Tensor, State, list[Tensor]]:
    """The gradients of x, of the first state, and of [W, U, b, c, *projection], which sum over the stretches."""
    caches, stretches, reverse = cache
    parts = _split(dh, stretches)
    dxs, dweights = list(parts), []
    for i, inner in zip(_order(stretches, not reverse), reversed(caches), strict=True):
        dsteps, B = parts[i].flip(0) if reverse else parts[i], parts[i].shape[1]
        dx, dfirst, found = scan_back(inner, dsteps, tuple(d[:B] for d in dstate))
        dstate = tuple(torch.cat([new, d[B:]]) for new, d in zip(dfirst, dstate, strict=True))
        dxs[i] = dx.flip(0) if reverse else dx
        dweights.append(found)
    return _joined(dxs), dstate, [torch.stack(each).sum(0) for each in zip(*dweights, strict=True)]


def _order(stretches: Sequence[Stretch], reverse: bool) -> Iterable[int]:
    return reversed(range(len(stretches))) if reverse else range(len(stretches))


def _split(x: Tensor, stretches: Sequence[Stretch]) -> list[Tensor]:
    parts = x.split([T * B for T, B in stretches])
    return [part.unflatten(0, stretch) for part, stretch in zip(parts, stretches, strict=True)]  # (T, B, I) each


def _joined(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([part.flatten(0, 1) for part in parts])  # (N, I)


def layers(
    cell: Cell,
    x: Tensor,
    states: State,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    batch_sizes: Tensor | None,
    again: Callable,
) -> tuple[tuple[Tensor, ...], Any]:
    """The call of torch.lstm and its like: (output (T, B, D * H), *final states (layers * D, B, H)) and a cache.

    x is (T, B, I), or (B, T, I) with `batch_first`, and then so is the output; with `batch_sizes` they are packed,
    (N, I) and (N, D * H). `params` holds for each layer and direction W, U, with `has_biases` b, c, and with a
    projection its matrix.
    """
    directions = 2 if bidirectional else 1
    each = len(params) // (num_layers * directions)
    if batch_first:
        x = x.transpose(0, 1)  # (T, B, I)
    dense = x.shape[:2] if batch_sizes is None else None
    if batch_sizes is None:
        stretches = [(x.shape[0], x.shape[1])]
        x = x.flatten(0, 1)  # (N, I)
    else:
        stretches = [(len(list(steps)), B) for B, steps in itertools.groupby(batch_sizes.tolist())]
    masks: Sequence[Tensor | float] = [1.0] * (num_layers - 1)
    if dropout and train and masks:
        ones = x.new_full((len(x), directions * states[0].shape[-1]), 1.0)  # (N, D * H)
        masks = again(ones, dropout, len(masks), function=draw)
    finals, caches = [], []
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            number = layer * directions + direction
            matrices = params[number * each :][:each]
            weights = matrices if has_biases else [*matrices[:2], None, None, *matrices[2:]]
            h, final, inner = sweep(cell, x, stretches, tuple(s[number] for s in states), direction == 1, *weights)
            outputs.append(h)
            finals.append(final)
            caches.append(inner)
        x = torch.cat(outputs, -1)  # (N, D * H)
        if layer < num_layers - 1:
            x = x * masks[layer]
    y = x if dense is None else x.unflatten(0, dense)  # (T, B, D * H)
    y = y.transpose(0, 1) if batch_first else y
    cache = caches, masks, directions, has_biases, dense, batch_first
    return (y, *map(torch.stack, zip(*finals, strict=True))), cache


def draw(ones: Tensor, dropout: float, count: int) -> list[Tensor]:
    """The masks of the dropout after each layer but the last, drawn as torch's own recurrent networks draw them."""
    return [F.dropout(ones, dropout) for _ in range(count)]


def layers_back(cache: Any, dy: Tensor, dfinals: State) -> tuple[Tensor, State, list[Tensor]]:
    """The gradients of x, of the first states, and of every tensor in `params`."""
    caches, masks, directions, has_biases, dense, batch_first = cache
    if batch_first:
        dy = dy.transpose(0, 1)  # (T, B, D * H)
    if dense is not None:
        dy = dy.flatten(0, 1)  # (N, D * H)
    dstates, dparams = [], []
    for layer in reversed(range(len(masks) + 1)):
        if layer < len(masks):
            dy = dy * masks[layer]
        dh = dy.chunk(directions, -1)  # D of (N, H)
        dxs = []
        for direction in reversed(range(directions)):
            number = layer * directions + direction
            dx, dstate, dweights = sweep_back(caches[number], dh[direction], tuple(d[number] for d in dfinals))
            dxs.append(dx)
            dstates.append(dstate)
            dparams.append(dweights if has_biases else [*dweights[:2], *dweights[4:]])
        dy = dxs[0] if directions == 1 else dxs[0] + dxs[1]  # (N, I)
    dx = dy if dense is None else dy.unflatten(0, dense)  # (T, B, I)
    dx = dx.transpose(0, 1) if batch_first else dx
    dparams.reverse()
    return dx, tuple(torch.stack(d[::-1]) for d in zip(*dstates, strict=True)), [d for one in dparams for d in one]


def sizes_last(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The call of torch.lstm and its like on packed sequences, whose batch sizes come second, with these by name."""
    if len(args) < 4 or isinstance(args[3], bool):  # has_biases, where there are no sizes
        return args, kwargs
    data, batch_sizes, *others = args
    return (data, *others), {**kwargs, "batch_sizes": batch_sizes}


def step(
    cell: Cell, x: Tensor, state: State, W: Tensor, U: Tensor, b: Tensor | None, c: Tensor | None
) -> tuple[State, Any]:
    """The call of torch.lstm_cell and its like: a sequence of one step. x (B, I), the state and its next (B, H)."""
    _, final, cache = scan(cell, x[None], state, W, U, b, c)
    return final, (cache, b is not None, c is not None)


def step_back(cache: Any, dfinal: State) -> tuple[Tensor, State, list[Tensor | None]]:
    """The gradients of x, of the state, and of [W, U, b, c]."""
    inner, has_b, has_c = cache
    dx, dstate, (dW, dU, db, dc) = scan_back(inner, dfinal[0].new_zeros(1, *dfinal[0].shape), dfinal)
    return dx[0], dstate, [dW, dU, db if has_b else None, dc if has_c else None]


def layer_cases(gates: int, states: int) -> Iterable[Case]:
    """Each option of the calls with layers once; `states` is 2 for the LSTM, which takes a tuple of them."""

    def call(
        label: str, *options: Any, layers: int = 1, directions: int = 1, biases: bool = True, P: int = 0, B: int = 2
    ) -> Case:
        T, width, H = 3, 1, 4
        x = torch.randn(B, T, width) if options[-1] else torch.randn(T, B, width)
        params = []
        for _ in range(layers):
            for _ in range(directions):
                params += [torch.randn(gates * H, width), 0.4 * torch.randn(gates * H, P or H)]
                params += [torch.randn(gates * H), torch.randn(gates * H)] if biases else []
                params += [torch.randn(P, H)] if P else []
            width = directions * (P or H)
        hx = tuple(torch.randn(layers * directions, B, n) for n in (P or H, H)[:states])
        return case(label, x, hx if states > 1 else hx[0], params, biases, layers, *options)

    def packed(label: str, sizes: list[int], *options: Any, **structure: Any) -> Case:
        _, hx, *others = call(label, *options, False, B=sizes[0], **structure).args
        return case(label, torch.randn(sum(sizes), 1), torch.tensor(sizes), hx, *others[:-1])

    # dropout, train, bidirectional, batch_first
    yield call("one layer", 0.0, True, False, False)
    yield call("no biases, batch first", 0.0, False, False, True, biases=False)
    yield call("two layers and directions", 0.0, True, True, False, layers=2, directions=2)
    yield call("dropout", 0.4, True, True, True, layers=3, directions=2)
    yield call("dropout of everything", 1.0, True, False, False, layers=2)
    yield call("dropout off", 0.4, False, False, False, layers=2)
    if states > 1:
        yield call("projection", 0.3, True, True, False, layers=2, directions=2, P=3)
        yield call("projection, no biases", 0.0, True, False, True, biases=False, P=1)
        yield packed("packed, projection", [3, 2, 2], 0.3, True, True, layers=2, directions=2, P=3)
    yield packed("packed", [3, 2, 2, 1], 0.0, True, False)
    yield packed("packed, two directions", [3, 3, 1], 0.4, True, True, layers=3, directions=2)
    yield packed("packed, one length, no biases", [2, 2], 0.0, False, True, directions=2, biases=False)


def step_cases(gates: int, states: int) -> Iterable[Case]:
    """Each option of the calls of one step once."""
    B, H = 3, 5
    hx = tuple(torch.randn(B, H) for _ in range(states))
    args = (torch.randn(B, 2), hx if states > 1 else hx[0], torch.randn(gates * H, 2), torch.randn(gates * H, H))
    yield case("biases", *args, torch.randn(gates * H), torch.randn(gates * H))
    yield case("no biases", *args)
    yield case("one bias", *args, b_hh=torch.randn(gates * H))
