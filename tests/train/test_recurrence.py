"""Recurrence: recurrent layers of a program are torch's own, with the same gradients and the same dropout."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.rnn import pack_sequence

from bptrain.train.noise import collected, given
from bptrain.train.program import Untraceable
from bptrain.train.recurrence import Unrolled

B, T, F, H = 3, 5, 2, 4
KINDS: list[tuple[type[nn.RNNBase], dict[str, Any]]] = [
    (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu"}),
    (nn.GRU, {}),
    (nn.LSTM, {}),
]
FLAGS = list(itertools.product((False, True), repeat=3))


def layers(kind: tuple[type[nn.RNNBase], dict[str, Any]], num_layers: int = 1, **options: Any) -> nn.RNNBase:
    torch.manual_seed(1)
    return kind[0](F, H, num_layers, **kind[1], **options).double()


def state(network: nn.RNNBase) -> Any:
    shape = (network.num_layers * (1 + network.bidirectional), B, H)
    torch.manual_seed(2)
    h, c = torch.randn(2, *shape, dtype=torch.float64).requires_grad_()
    return (h, c) if isinstance(network, nn.LSTM) else h


def values(network: nn.RNNBase, hx: Any = None, used: int | None = None) -> list[Tensor]:
    """All that it returns, and the gradients of a weighted sum of that, or of one of them, by all that goes in."""
    torch.manual_seed(3)
    x = torch.randn(B, T, F, dtype=network.weight_ih_l0.dtype, requires_grad=True)
    y, final = network(x if network.batch_first else x.transpose(0, 1), hx)
    results = [y, *(final if isinstance(final, tuple) else [final])]
    loss = sum((r * torch.randn_like(r)).sum() for i, r in enumerate(results) if used in (None, i))
    given = [] if hx is None else [hx] if isinstance(hx, Tensor) else list(hx)
    gradients = torch.autograd.grad(loss, [x, *given, *network.parameters()], allow_unused=True)
    zeros = [torch.zeros_like(w) for w in (x, *given, *network.parameters())]
    return [*results, *(z if g is None else g for g, z in zip(gradients, zeros, strict=True))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias, bidirectional, batch_first", FLAGS)
def test_values_and_gradients_are_those_of_torch(kind, bias, bidirectional, batch_first):
    network = layers(kind, 2, bias=bias, bidirectional=bidirectional, batch_first=batch_first)
    hx = state(network)
    expected = values(network, hx)
    with Unrolled():
        torch.testing.assert_close(values(network, hx), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("used", [0, 1, 2])
def test_one_result_alone_may_be_used(kind, used):
    network = layers(kind)
    if used == 2 and not isinstance(network, nn.LSTM):
        used = 1
    expected = values(network, state(network), used)
    with Unrolled():
        torch.testing.assert_close(values(network, state(network), used), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_agrees_to_rounding(kind):
    network = layers(kind, 2).float()
    expected = values(network)
    with Unrolled():
        torch.testing.assert_close(values(network), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_dropout_between_layers_is_drawn_as_torch_draws_it(kind, batch_first):
    network = layers(kind, 3, dropout=0.4, bidirectional=True, batch_first=batch_first)
    x = torch.randn(B, T, F, dtype=torch.float64)
    torch.manual_seed(7)
    expected, after = network(x)[0], torch.get_rng_state()
    torch.manual_seed(7)

    def forward() -> Tensor:
        with Unrolled():
            return network(x)[0]

    noise = collected(forward)
    assert torch.equal(torch.get_rng_state(), after)
    torch.manual_seed(7)
    with given([each.draw() for each in noise]):
        torch.testing.assert_close(forward(), expected, rtol=1e-12, atol=1e-12)
    network.eval()
    assert not collected(forward)


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_networks_are_a_loop_over_them_and_can_be_traced(kind):
    network = layers(kind, 2, bidirectional=True)
    names = list(dict(network.named_parameters()))
    torch.manual_seed(5)
    stacked = [torch.randn(3, *w.shape, dtype=w.dtype) for w in network.parameters()]
    x = torch.randn(3, T, B, F, dtype=torch.float64)

    def gradients(weights: list[Tensor], x: Tensor) -> Any:
        def loss(weights: list[Tensor]) -> Tensor:
            with Unrolled():
                y, final = functional_call(network, dict(zip(names, weights, strict=True)), (x,))
            return y.square().sum() + (final[-1] if isinstance(final, tuple) else final).sum()

        return grad_and_value(loss)(weights)

    each = [gradients([w[i] for w in stacked], x[i]) for i in range(3)]
    expected = [torch.stack(of) for of in zip(*([*g, y] for g, y in each), strict=True)]
    traced = make_fx(lambda *tensors: vmap(gradients)(list(tensors[:-1]), tensors[-1]), tracing_mode="fake")(
        *stacked, x
    )
    for found, loss in (vmap(gradients)(stacked, x), traced(*stacked, x)):
        torch.testing.assert_close([*found, loss], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_weight_gradients_are_one_product_over_all_steps(kind):
    network = layers(kind)
    x = torch.randn(T, B, F, dtype=torch.float64)

    def gradients(*weights: Tensor) -> Any:
        with Unrolled():
            y = functional_call(network, dict(zip(dict(network.named_parameters()), weights, strict=True)), (x,))[0]
        return torch.autograd.grad(y.sum(), weights)

    graph = make_fx(gradients)(*network.parameters()).graph
    graph.eliminate_dead_code()
    products = [n for n in graph.nodes if "mm" in str(n.target)]
    forward, back, inputs, weights = T, T - 1, 1, 2
    assert len(products) <= forward + back + inputs + weights + 1  # one more where nobody asks for the first state's


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_are_left_to_torch(kind):
    network = layers(kind, 2)
    packed = pack_sequence([torch.randn(n, F, dtype=torch.float64) for n in (4, 2, 1)])
    expected = network(packed)[0].data
    with Unrolled():
        assert torch.equal(network(packed)[0].data, expected)


def test_a_projection_is_left_to_torch_and_refused_with_dropout_between_layers():
    network = layers(KINDS[-1], 2, proj_size=3)
    x = torch.randn(T, B, F, dtype=torch.float64)
    expected = network(x)[0]
    with Unrolled():
        assert torch.equal(network(x)[0], expected)
        network.dropout = 0.5
        with pytest.raises(Untraceable, match="no dropout between"):
            network(x)
