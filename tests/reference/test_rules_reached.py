"""What user code calls, as the tape sees it, has a rule: the activation modules, operators, methods and properties."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bptrain.reference.backprop import NoRule, backprop, evaluate
from bptrain.reference.rules.reduction import LogSumExp
from bptrain.reference.tape import Tape

ACTIVATIONS = """
    CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish PReLU ReLU
    ReLU6 RReLU SELU SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink Softsign Tanh Tanhshrink Threshold
""".split()
IN_PLACE = "CELU ELU Hardsigmoid Hardswish Hardtanh LeakyReLU Mish ReLU ReLU6 RReLU SELU SiLU Threshold".split()
SETTINGS = {"Threshold": {"threshold": 0.0, "value": 0.3}, "Softmax": {"dim": 1}, "Softmin": {"dim": 1}}
SETTINGS["LogSoftmax"] = {"dim": 1}


def activation(name, **settings):
    return getattr(nn, name)(**SETTINGS.get(name, {}), **settings)


def check_local(tape, dtype=torch.float64):
    """Every recorded call against its rule on the very numbers autograd saw; returns how many gradients agreed."""
    agreed = 0
    for call in tape.calls:
        evaluation = evaluate(call, tape.values.__getitem__, dtype)
        dy = {position: gradient.to(dtype) for position, gradient in call.output_gradients.items()}
        pulled = evaluation.pull(dy)
        for position, gradient in call.input_gradients.items():
            torch.testing.assert_close(pulled[position][1].to(gradient.dtype), gradient, rtol=2e-6, atol=2e-6)
            agreed += 1
    return agreed


def test_the_activations_of_torch_are_these_28():
    assert len(ACTIVATIONS) == 28
    assert sorted(ACTIVATIONS) == sorted(set(torch.nn.modules.activation.__all__) - {"MultiheadAttention"})


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_module_is_covered(name, training):
    torch.manual_seed(0)
    module = activation(name).train(training)
    x = torch.randn(2, 3, 4, requires_grad=True)
    with Tape(module) as tape:
        y = module(x)
    y.backward(torch.randn_like(y))
    assert tape.calls
    assert check_local(tape) == 1 + len(list(module.parameters()))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_slope_at_exactly_zero_is_the_one_of_torch(name):
    torch.manual_seed(0)
    module = activation(name)
    x = torch.zeros(2, 3, 4, requires_grad=True)
    with Tape(module) as tape:
        y = module(x)
    y.backward(torch.rand_like(y) + 1)
    assert check_local(tape) == 1 + len(list(module.parameters()))


@pytest.mark.parametrize("name", IN_PLACE)
def test_an_activation_that_overwrites_its_input_is_covered(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), activation(name, inplace=True), nn.Linear(5, 2))
    with Tape(model) as tape:
        loss = model(torch.randn(4, 3)).sum()
    loss.backward()
    run = backprop(tape, tape.variable(loss), torch.float64)
    assert not run.unruled
    for parameter, variable in zip(model.parameters(), tape.leaves.values(), strict=True):
        torch.testing.assert_close(run.gradients[variable].float(), parameter.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Softmax", "Softmin", "LogSoftmax"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (2, 3, 1, 2)])
def test_the_axis_that_torch_picks_when_none_is_given_is_picked(name, shape):
    x = torch.randn(shape, requires_grad=True)
    with Tape() as tape, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls this deprecated
        y = getattr(nn, name)()(x)
    y.backward(torch.randn_like(y))
    assert check_local(tape) == 1


EXPRESSIONS = {
    "sums": lambda x, z: (x + 1) + (2 + z) + (x - z) + (1 - x) + (-x) + (+z),
    "products": lambda x, z: (x * 2) * (3 * z) + (x / 2) + (x / z) + (2 / x),
    "powers": lambda x, z: x**2 + 2**x + x**z + x**-1 + x**0.5,
    "augmented": lambda x, z: augmented(x, z),
    "matrices": lambda x, z: (x @ z.T) @ (x.mT.t() @ z.mT).T,
    "functions": lambda x, z: abs(x).exp().log1p().sqrt() * torch.sin(z).cos() + F.sigmoid(x) * F.tanh(z),
    "items": lambda x, z: x[0] + x[-1, :] + x[:, None, ..., 1].sum() + x[z > 0.5].sum() + x[torch.tensor([0, 0])].sum(),
    "iteration": lambda x, z: sum(row.max() for row in x) + torch.stack([a + b for a, b in zip(*z[:2], strict=True)]),
    "winners": lambda x, z: x.max(dim=1).values + torch.min(z, 1)[0] + torch.max(x, z).amax(1) + x.max() - x.amin(),
    "NumPy's names": lambda x, z: x.sum(axis=1, keepdims=True) + z.mean(axis=-1, keepdims=True) + x.std(axis=0),
    "norms": lambda x, z: x.norm() + torch.norm(z, dim=0).sum() + torch.linalg.norm(x) + x.norm(p=1, dim=1).sum(),
    "shapes": lambda x, z: x.view(4, 3).reshape(-1).unflatten(0, (2, -1)).flatten().unsqueeze(0).squeeze() * 2.0,
    "pieces": lambda x, z: torch.cat([*x.split(2, 1), *z.chunk(2, 1)], 1).unbind(0)[1] + torch.stack([x, z]).sum(),
    "masks": lambda x, z: (1 - (x > 0.5).float()) @ x.T + (x > z).to(torch.float32) @ z.T,
    "counts": lambda x, z: x.T @ (z > 0.5).sum(1, dtype=torch.float32) + z.mean(),
    "casts": lambda x, z: x.double().float().to(torch.float64).to(z).type_as(z).contiguous().clone() + z,
}


def augmented(x, z):
    y = x * 1
    y += z
    y *= x
    y -= 1
    y /= z
    y = y.abs() + 1
    y **= 2
    return y


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_an_expression_calls_has_a_rule_and_gives_the_gradient_of_autograd(name):
    torch.manual_seed(0)
    x, z = (torch.rand(3, 4).add(0.1).requires_grad_() for _ in range(2))
    with Tape() as tape:
        tape.leaf("x", x)
        tape.leaf("z", z)
        loss = EXPRESSIONS[name](x, z).sum()
    loss.backward()
    run = backprop(tape, tape.variable(loss), torch.float64)
    assert [call.name for call in run.unruled] == []
    for leaf, variable in ((x, tape.leaves["x"]), (z, tape.leaves["z"])):
        if leaf.grad is not None:
            assert run.gradients[variable].dtype == torch.float64, "a cast in the model left the dtype of the reference"
            torch.testing.assert_close(run.gradients[variable].float(), leaf.grad, rtol=1e-4, atol=1e-5)


def test_the_logsumexp_of_nothing_but_minus_infinity_is_minus_infinity():
    y, _ = LogSumExp.forward(torch.tensor([[-torch.inf, -torch.inf], [0.0, -torch.inf]]), 1)
    assert y.tolist() == [-torch.inf, 0.0]


BEYOND = {
    "to or from integers": lambda x: x.to(torch.int32),
    "from integers": lambda x: (x > 0.5).float(),
    "only integers can be sizes": lambda x: x.view(torch.int32),
}


@pytest.mark.parametrize("reason", BEYOND)
def test_a_call_that_a_rule_does_not_cover_is_refused_with_the_reason(reason):
    x = torch.rand(3, 4)
    with Tape() as tape:
        BEYOND[reason](x)
    with pytest.raises(NoRule, match=reason):
        evaluate(tape.calls[-1], tape.values.__getitem__, torch.float64)
