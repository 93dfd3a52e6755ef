"""Modules under torch's own wrappers: torch.compile, parametrizations, checkpointing, hooks."""

import pytest
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

import bptrain

# What torch's own code warns about when it compiles.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def backend(factor):
    """A compiler that gets every backward of a matrix wrong by a factor."""

    def boxed(graph, change):
        def run(inputs):
            return [change(y) for y in graph(*inputs)]

        run._boxed_call = True
        return run

    def scaled(y):
        return y * factor if isinstance(y, torch.Tensor) and y.dim() == 2 else y

    return aot_autograd(
        fw_compiler=lambda graph, _: boxed(graph, lambda y: y), bw_compiler=lambda graph, _: boxed(graph, scaled)
    )


@pytest.mark.parametrize("inside", [False, True], ids=["whole", "a part"])
def test_a_compiled_model_is_compared_with_the_reference(inside):
    compiled = torch.compile(network(), backend=backend(1.0))
    model = nn.Sequential(compiled, nn.Sigmoid()) if inside else compiled
    report = bptrain.check_gradients(model, torch.randn(4, 3))
    assert report.verdict == "verified"
    assert len(report.calls) == 4 if inside else 3
    assert "output" in report.compiled
    assert set(report.compiled) == {*report.parameters, "input", "output"}


def test_a_compiler_that_is_wrong_is_named_as_such():
    report = bptrain.check_gradients(torch.compile(network(), backend=backend(1.001)), torch.randn(4, 3))
    assert report.verdict == "wrong"
    assert not report.culprits
    assert "the compiler is at fault" in report.summary()
    assert report.compiled["2.bias"].verdict == "verified"


def test_a_model_that_is_wrong_before_it_is_compiled_is_its_own_fault():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 3

        @staticmethod
        def backward(ctx, dy):
            return dy * 2

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return Wrong.apply(self.layer(x))

    report = bptrain.check_gradients(torch.compile(Net(), backend=backend(1.0)), torch.randn(4, 3))
    assert [call.function.rsplit(".", 1)[1] for call in report.culprits] == ["Wrong"]
    assert not report.compiled


def test_the_compiled_model_is_afterwards_what_it_was():
    model = torch.compile(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), backend=backend(1.0))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    bptrain.check_gradients(model, torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_compiled_dropout_is_not_called_verified():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    model.compile(backend=backend(1.0))
    report = bptrain.check_gradients(model, torch.randn(5, 3))
    assert report.ok
    assert report.verdict == "unverified"
    assert "other random numbers" in report.summary()


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.inner, self.reentrant = network(), reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant).tanh()


WRAPPED = {
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(3, 4)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(3, 3), orthogonal_map="cayley"),
    "checkpoint": lambda: Checkpointed(False),
    "reentrant checkpoint": lambda: nn.Sequential(nn.Linear(3, 3), Checkpointed(True)),
}


@pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_wrapped_module_is_not_accused(make, dtype):
    torch.manual_seed(0)
    report = bptrain.check_gradients(make().to(dtype), torch.randn(4, 3, dtype=dtype))
    assert report.ok
    assert report.verdict in ("verified", "numerical")


def test_a_wrong_backward_in_a_reentrant_checkpoint_is_found():
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, dy):
            return 2.002 * dy

    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return checkpoint(lambda h: self.second(Scaled.apply(h)), self.first(x), use_reentrant=True)

    report = bptrain.check_gradients(Wrong(), torch.randn(4, 3))
    assert [call.function for call in report.culprits] == ["torch.utils.checkpoint.CheckpointFunction"]
    assert report.parameters["second.weight"].verdict == "verified"
    assert report.parameters["first.weight"].verdict == "wrong"


def test_spectral_norm_takes_its_vectors_as_constants():
    torch.manual_seed(0)
    report = bptrain.check_gradients(parametrizations.spectral_norm(nn.Linear(3, 4)), torch.randn(5, 3))
    assert report.ok
    assert report.verdict == "contract"


def test_hooks_that_only_look_are_no_fault():
    model, seen = network(), []
    model[0].register_forward_hook(lambda module, args, output: seen.append(output))
    model[1].register_full_backward_hook(lambda module, given, received: seen.append(received))
    assert bptrain.check_gradients(model, torch.randn(4, 3)).verdict == "verified"
    assert seen


def test_a_forward_hook_that_changes_the_output_is_followed():
    model = network()
    model[0].register_forward_hook(lambda module, args, output: output * 2)
    assert bptrain.check_gradients(model, torch.randn(4, 3)).verdict == "verified"


def test_a_backward_hook_of_a_module_that_changes_its_gradient_is_named():
    model = network()
    model[1].register_full_backward_hook(lambda module, given, received: (given[0] * 1.01,))
    report = bptrain.check_gradients(model, torch.randn(4, 3))
    assert report.verdict == "wrong"
    assert "register_full_backward_hook" in report.summary()
