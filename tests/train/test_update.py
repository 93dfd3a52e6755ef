"""Updates: what an optimizer makes of a parameter as a function of tensors equals torch's own step."""

import copy

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, NAdam, RMSprop

from bptrain.train.update import update_of

SHAPES = (3, 5), (4,), ()
CASES = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "dampening": 0.5}),  # which without momentum does nothing
    (SGD, {"lr": 0.1, "weight_decay": 0.3}),
    (SGD, {"lr": 0.1, "momentum": 0.9}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.3}),
    (RMSprop, {"lr": 0.02}),
    (RMSprop, {"lr": 0.02, "alpha": 0.7, "eps": 0.1, "weight_decay": 0.3}),
    (RMSprop, {"lr": 0.02, "momentum": 0.8}),
    (RMSprop, {"lr": 0.02, "centered": True, "alpha": 0.7}),
    (RMSprop, {"lr": 0.02, "centered": True, "momentum": 0.8, "alpha": 0.7, "weight_decay": 0.3}),
    (Adam, {"lr": 0.02}),
    (Adam, {"lr": 0.02, "betas": (0.7, 0.8), "eps": 0.1, "weight_decay": 0.3}),
    (Adam, {"lr": 0.02, "amsgrad": True, "betas": (0.7, 0.8)}),
    (Adam, {"lr": 0.02, "amsgrad": True, "weight_decay": 0.3}),
    (AdamW, {"lr": 0.02}),
    (AdamW, {"lr": 0.02, "weight_decay": 0.0}),
    (AdamW, {"lr": 0.02, "amsgrad": True, "betas": (0.7, 0.8), "weight_decay": 0.3}),
]


def apply(optimizer, step):
    """The optimizer's step, by its Update."""
    update, (group,) = update_of(optimizer), optimizer.param_groups
    for w in group["params"]:
        numbers = torch.tensor(update.numbers(group, step), dtype=w.dtype)
        with torch.no_grad():
            update.apply(w, w.grad.clone(), update.begin(optimizer, w), numbers.unbind())


def tensors(optimizer):
    """Parameters, and the state of each by name."""
    (group,) = optimizer.param_groups
    states = [optimizer.state[w] for w in group["params"]]
    return {i: w.detach() for i, w in enumerate(group["params"])} | {
        (i, name): value for i, state in enumerate(states) for name, value in state.items()
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mine", ["111111", "001101", "110010"])  # the steps that are made by the Update
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_steps_are_those_of_torch_and_each_goes_on_from_the_other(kind, options, mine, dtype):
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in SHAPES]
    theirs, ours = (kind([w.detach().clone().requires_grad_() for w in parameters], **options) for _ in range(2))
    for step, ours_is_due in enumerate(mine, 1):
        gradients = [torch.randn(shape, generator=generator, dtype=dtype) / step for shape in SHAPES]
        for optimizer in (theirs, ours):
            optimizer.param_groups[0]["lr"] = options["lr"] / step
            for w, g in zip(optimizer.param_groups[0]["params"], gradients, strict=True):
                w.grad = g.clone()
        theirs.step()
        apply(ours, step) if ours_is_due == "1" else ours.step()
    expected, found = tensors(theirs), tensors(ours)
    assert expected.keys() == found.keys()
    tolerance = {torch.float32: 3e-6, torch.float64: 1e-14}[dtype]
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance)


def test_a_state_that_was_read_from_a_checkpoint_is_gone_on_from():
    w = torch.ones(3, requires_grad=True)
    w.grad = torch.tensor([1.0, -2.0, 0.5])
    theirs = Adam([w], 0.1)
    theirs.step()
    other = w.detach().clone().requires_grad_()
    other.grad = w.grad.clone()
    ours = Adam([other], 0.1)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    theirs.step()
    apply(ours, 2)
    torch.testing.assert_close(other, w, rtol=1e-6, atol=0)


class Own(SGD):
    """Whose step may be any."""


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.1}),
        (SGD, {"lr": 0.1, "maximize": True}),
        (RMSprop, {"maximize": True}),
        (Adam, {"maximize": True}),
        (NAdam, {}),
        (Own, {"lr": 0.1}),
    ],
)
def test_other_optimizers_and_options_have_none(kind, options):
    assert update_of(kind([torch.zeros(2)], **options)) is None


def test_groups_with_options_of_their_own_have_none():
    assert update_of(SGD([{"params": [torch.zeros(2)]}, {"params": [torch.zeros(3)], "lr": 1.0}], 0.1)) is None
