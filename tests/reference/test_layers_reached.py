"""Layers as torch.nn's modules call them: the reference gives autograd's gradients through all of them."""

import pytest
import torch
from torch import nn

from bptrain.reference.backprop import backprop, evaluate
from bptrain.reference.rule import rule_for
from bptrain.reference.tape import Tape

VECTORS, SIGNALS, IMAGES, VOLUMES = (5, 4), (3, 4, 7), (3, 4, 5, 6), (2, 4, 3, 4, 3)
LAYERS = [
    (nn.Conv1d(4, 3, 3, stride=2, padding=1), SIGNALS),
    (nn.Conv1d(4, 6, 2, dilation=2, groups=2, bias=False), SIGNALS),
    (nn.Conv1d(4, 3, 3, padding=2, padding_mode="circular"), SIGNALS),
    (nn.Conv1d(4, 3, 3, padding="same"), SIGNALS[1:]),
    (nn.Conv2d(4, 3, (3, 2), stride=(1, 2), padding=(0, 1)), IMAGES),
    (nn.Conv2d(4, 4, 3, padding="same", groups=4), IMAGES),
    (nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"), IMAGES),
    (nn.Conv3d(4, 3, 2), VOLUMES),
    (nn.MaxPool1d(3, 2, padding=1), SIGNALS),
    (nn.MaxPool1d(2, dilation=2, ceil_mode=True), SIGNALS),
    (nn.MaxPool2d(2), IMAGES),
    (nn.MaxPool2d((3, 2), (2, 1), (1, 0), ceil_mode=True), IMAGES),
    (nn.MaxPool3d(2, 1), VOLUMES),
    (nn.AvgPool1d(3, 2, padding=1, count_include_pad=False), SIGNALS),
    (nn.AvgPool1d(2, ceil_mode=True), SIGNALS[1:]),
    (nn.AvgPool2d(2), IMAGES),
    (nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, divisor_override=5), IMAGES),
    (nn.AvgPool3d(2, 1), VOLUMES),
    (nn.AdaptiveAvgPool1d(3), SIGNALS),
    (nn.AdaptiveAvgPool2d(1), IMAGES),
    (nn.AdaptiveAvgPool2d((None, 4)), IMAGES),
    (nn.AdaptiveAvgPool3d(2), VOLUMES),
    (nn.AdaptiveMaxPool1d(3), SIGNALS),
    (nn.AdaptiveMaxPool2d((2, 4)), IMAGES),
    (nn.AdaptiveMaxPool3d((1, None, 2)), VOLUMES),
    (nn.BatchNorm1d(4), VECTORS),
    (nn.BatchNorm1d(4, affine=False), SIGNALS),
    (nn.BatchNorm1d(4).eval(), SIGNALS),
    (nn.BatchNorm2d(4, momentum=None), IMAGES),
    (nn.BatchNorm2d(4).eval(), IMAGES),
    (nn.BatchNorm2d(4, track_running_stats=False).eval(), IMAGES),
    (nn.LayerNorm(7), SIGNALS),
    (nn.LayerNorm((5, 6), bias=False), IMAGES),
    (nn.GroupNorm(2, 4), IMAGES),
    (nn.GroupNorm(4, 4, affine=False), VECTORS),
    (nn.InstanceNorm1d(4, affine=True, track_running_stats=True), SIGNALS),
    (nn.InstanceNorm1d(4), SIGNALS[1:]),
    (nn.InstanceNorm2d(4, track_running_stats=True).eval(), IMAGES),
    (nn.RMSNorm(7), SIGNALS),
    (nn.LocalResponseNorm(3, alpha=0.5), IMAGES),
    (nn.Dropout(0.3), VECTORS),
    (nn.Dropout(0.3).eval(), VECTORS),
    (nn.Dropout1d(0.4), SIGNALS),
    (nn.Dropout2d(0.4), IMAGES),
    (nn.Dropout3d(0.4), VOLUMES),
    (nn.AlphaDropout(0.3), VECTORS),
    (nn.FeatureAlphaDropout(0.4), IMAGES),
]


def assert_reference_equals_autograd(model, x, forward=None):
    """Gradients of a loss that weighs every output differently; returns the names of the recorded functions."""
    torch.manual_seed(0)
    leaves = {"input": x.requires_grad_(), **dict(model.named_parameters())}
    tape = Tape(model)
    tape.leaf("input", x)
    with tape:
        y = (forward or model)(x)
        loss = (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum()
    run = backprop(tape, tape.variable(loss), torch.float64)
    loss.backward()
    assert not run.unruled
    assert [call.name for call in tape.calls if rule_for(call.function) is None] == []
    torch.testing.assert_close(run.value(tape.variable(loss)), loss.detach(), rtol=1e-10, atol=1e-10)
    for name, leaf in leaves.items():
        torch.testing.assert_close(run.gradients[tape.leaves[name]], leaf.grad, rtol=1e-10, atol=1e-10)
    return [call.name for call in tape.calls]


@pytest.mark.parametrize(("layer", "shape"), [pytest.param(*x, id=f"{x[0]}-{len(x[1])}") for x in LAYERS])
def test_a_layer_has_the_gradients_of_autograd(layer, shape):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(shape[-1], shape[-1]), layer).double()  # so that what enters the layer has a past
    for name, value in layer.state_dict().items():
        if value.is_floating_point():  # or else a scale of 1 and a shift of 0 would hide errors
            value.copy_(torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value))
    assert_reference_equals_autograd(model, torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.MaxPool1d(2, return_indices=True), SIGNALS),
        (nn.MaxPool2d(2, return_indices=True), IMAGES),
        (nn.MaxPool3d(2, return_indices=True), VOLUMES),
        (nn.AdaptiveMaxPool1d(2, return_indices=True), SIGNALS),
        (nn.AdaptiveMaxPool2d(2, return_indices=True), IMAGES),
        (nn.AdaptiveMaxPool3d(2, return_indices=True), VOLUMES),
    ],
)
def test_a_pool_that_returns_indices_too_is_covered(pool, shape):
    torch.manual_seed(1)
    names = assert_reference_equals_autograd(pool, torch.randn(shape, dtype=torch.float64), lambda x: pool(x)[0])
    assert names[0].endswith("_with_indices")


def test_a_network_of_many_layers_has_the_gradients_of_autograd():
    torch.manual_seed(1)
    layers = [nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Dropout2d(0.3), nn.Conv2d(4, 6, 3), nn.GroupNorm(2, 6), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.LayerNorm(6), nn.Dropout(0.3), nn.Linear(6, 3)).double()
    assert_reference_equals_autograd(model, torch.randn(5, 1, 9, 11, dtype=torch.float64))


def test_a_layer_used_twice_sums_both_gradients_and_normalizes_each_batch_by_itself():
    torch.manual_seed(1)
    norm = nn.BatchNorm1d(3).double()
    assert_reference_equals_autograd(norm, torch.randn(5, 3, dtype=torch.float64), lambda x: norm(norm(x) ** 2))


@pytest.mark.parametrize("drop", [nn.Dropout(0.4), nn.Dropout2d(0.4), nn.AlphaDropout(0.4)])
def test_a_mask_is_read_whatever_the_memory_layout(drop):
    # A convolution keeps the layout of its images, and a mask is drawn in the order of memory.
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 3, 2), drop).double()
    x = torch.randn(3, 2, 4, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    assert_reference_equals_autograd(model, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_in_a_narrow_dtype_scales_by_exactly_one_over_the_share_kept(dtype):
    torch.manual_seed(0)
    x, drop = torch.randn(7, 5, dtype=dtype), nn.Dropout(0.3)
    with Tape() as tape:
        y = drop(x)
    reference = evaluate(tape.calls[0], tape.values.__getitem__, torch.float64).outputs[0]
    assert torch.equal(reference != 0, y != 0)
    assert torch.equal(reference[reference != 0], x[y != 0].double() * (1 / (1 - 0.3)))


def test_the_statistics_that_a_batch_norm_moved_are_recorded_as_they_were_before():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(3)
    with Tape(norm) as tape:
        norm(torch.randn(5, 3))
    moved = norm.running_mean.clone()
    call = next(call for call in tape.calls if call.name.endswith("batch_norm"))
    evaluate(call, tape.values.__getitem__, torch.float64)
    assert torch.equal(tape.values[call.inputs[1].variable], torch.zeros(3))
    assert torch.equal(norm.running_mean, moved)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_rms_norm_without_eps_takes_the_one_of_the_dtype_that_torch_computes_in(dtype):
    x = torch.tensor([[1e-4, -3e-4, 2e-4], [1.0, 2.0, -0.5]], dtype=dtype)
    norm = nn.RMSNorm(3, dtype=dtype)
    with Tape(norm) as tape:
        y = norm(x)
    reference = evaluate(tape.calls[0], tape.values.__getitem__, torch.float64).outputs[0]
    torch.testing.assert_close(reference, y.detach().double(), rtol=2 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 3, 3, padding=1), IMAGES),
        (nn.MaxPool2d(3, 2, 1), IMAGES),
        (nn.AvgPool2d(3, 2, 1), IMAGES),
        (nn.AdaptiveAvgPool1d(3), SIGNALS),
        (nn.BatchNorm1d(4), SIGNALS),
        (nn.LayerNorm(7), SIGNALS),
        (nn.GroupNorm(2, 4), IMAGES),
        (nn.LocalResponseNorm(3), IMAGES),
        (nn.Dropout(0.3), VECTORS),
        (nn.AlphaDropout(0.3), VECTORS),
    ],
)
def test_a_rule_stays_in_the_dtype_it_is_run_in(layer, shape, dtype):
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    with Tape(layer) as tape:
        y = layer(x)
    evaluation = evaluate(tape.calls[-1], tape.values.__getitem__, dtype)
    gradient = evaluation.pull({0: torch.ones_like(y, dtype=dtype)})[0][1]
    assert evaluation.outputs[0].dtype == gradient.dtype == dtype
    torch.testing.assert_close(evaluation.outputs[0].float(), y.detach(), rtol=0.05, atol=0.05)
