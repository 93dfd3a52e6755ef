"""Modules and functions of places, tables and distances as check_gradients sees them: all come out verified."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bptrain

SIGNALS, IMAGES, VOLUMES = (2, 4, 7), (2, 4, 5, 6), (1, 4, 3, 4, 3)
SHAPES = {1: SIGNALS, 2: IMAGES, 3: VOLUMES}
LAYERS = [
    (nn.ConvTranspose1d(4, 3, 3, stride=2, padding=1, output_padding=1), SIGNALS),
    (nn.ConvTranspose1d(4, 3, 2, dilation=3, bias=False), SIGNALS[1:]),
    (nn.ConvTranspose2d(4, 6, (3, 2), stride=(1, 2), padding=(0, 1), groups=2), IMAGES),
    (nn.ConvTranspose3d(4, 3, 2, stride=(1, 2, 1), output_padding=(0, 1, 0)), VOLUMES),
    *(
        (conv(4, 3, 3, padding=padding, padding_mode=mode), SHAPES[axes])
        for axes, conv in ((1, nn.Conv1d), (2, nn.Conv2d), (3, nn.Conv3d))
        for mode in ("zeros", "reflect", "replicate", "circular")
        for padding in (1, "same")
    ),
    *(
        (getattr(nn, f"{frame}Pad{axes}d")(padding), SHAPES[axes])
        for frame in ("Circular", "Reflection", "Replication", "Zero")
        for axes, padding in ((1, (1, 2)), (2, (2, 1, 1, 0)), (3, (1, 2, 0, 1, 1, 1)))
    ),
    *((getattr(nn, f"ConstantPad{axes}d")((1, 2) * axes, 0.7), SHAPES[axes]) for axes in (1, 2, 3)),
    (nn.Unfold((2, 3), dilation=(2, 1), padding=(1, 0), stride=(1, 2)), IMAGES),
    (nn.Fold((4, 3), 2, dilation=(2, 1), padding=1, stride=2), (2, 8, 4)),
    (nn.Flatten(), IMAGES),
    (nn.Unflatten(1, (2, 2)), IMAGES),
    (nn.LPPool1d(2, 3, 2), SIGNALS),
    (nn.LPPool2d(2, (2, 3), ceil_mode=True), IMAGES),
    (nn.LPPool3d(1, 2, 1), VOLUMES),
    (nn.LPPool2d(float("inf"), 2), IMAGES),
    (nn.Sequential(nn.Hardshrink(0.6), nn.LPPool1d(2, 2)), SIGNALS),
    (nn.FractionalMaxPool2d(2, output_size=3), IMAGES),
    (nn.FractionalMaxPool2d((2, 3), output_ratio=(0.7, 0.6), return_indices=True), IMAGES),
    (nn.FractionalMaxPool3d(1, output_ratio=0.7), VOLUMES),
    (nn.FractionalMaxPool3d(2, output_size=(1, 2, 1), return_indices=True), VOLUMES),
    (nn.Upsample(size=11), SIGNALS),
    (nn.Upsample(scale_factor=2.7, mode="bilinear"), (1, 2, 33, 47)),
    (nn.Upsample(scale_factor=(1.5, 0.7), mode="nearest-exact"), IMAGES),
    (nn.Upsample(scale_factor=1.7, mode="linear", recompute_scale_factor=True), SIGNALS),
    (nn.Upsample(size=(7, 3), mode="bilinear"), IMAGES),
    (nn.Upsample(scale_factor=1.7, mode="bicubic", align_corners=True), IMAGES),
    (nn.Upsample(scale_factor=2, mode="trilinear"), VOLUMES),
    (nn.Upsample(size=2, mode="area"), VOLUMES),
    (nn.UpsamplingNearest2d(scale_factor=2), IMAGES),
    (nn.UpsamplingBilinear2d(size=(4, 7)), IMAGES),
    (nn.PixelShuffle(2), IMAGES),
    (nn.PixelUnshuffle(2), (3, 4, 6)),
    (nn.ChannelShuffle(2), IMAGES),
]
PAIRS = [
    (nn.PairwiseDistance(), (5, 3), (5, 3)),
    (nn.PairwiseDistance(1, eps=0.1, keepdim=True), (2, 5, 3), (5, 3)),
    (nn.CosineSimilarity(), (5, 3), (5, 3)),
    (nn.CosineSimilarity(dim=0, eps=1e-3), (5, 3), (5, 3)),
    (nn.Bilinear(3, 4, 2), (5, 3), (5, 4)),
    (nn.Bilinear(3, 4, 2, bias=False), (2, 5, 3), (2, 5, 4)),
]
ROWS, LINE = torch.tensor([[1, 4, 1], [0, 1, 2]]), torch.tensor([1, 4, 1, 0, 3, 1, 2])
TABLES = [
    (nn.Embedding(5, 3), (ROWS,)),
    (nn.Embedding(5, 3, padding_idx=1), (ROWS,)),
    (nn.Embedding(5, 3, scale_grad_by_freq=True), (ROWS,)),
    (nn.Embedding(5, 3, sparse=True), (ROWS,)),
    (nn.Embedding(5, 3, max_norm=0.5, norm_type=1.0), (ROWS,)),
    *(
        (nn.EmbeddingBag(5, 3, mode=mode, padding_idx=padding), inputs)
        for mode in ("sum", "mean", "max")
        for padding, inputs in ((None, (ROWS,)), (1, (LINE, torch.tensor([0, 2, 2, 5]))))
    ),
    (nn.EmbeddingBag(5, 3, mode="sum", include_last_offset=True), (LINE, torch.tensor([0, 4, 7]), torch.rand(7))),
    (nn.EmbeddingBag(5, 3, mode="mean", scale_grad_by_freq=True), (torch.tensor([[1, 3], [3, 1]]),)),
    (nn.EmbeddingBag(5, 3, mode="max", max_norm=0.5), (ROWS,)),
    (nn.EmbeddingBag(5, 3, mode="sum", sparse=True), (ROWS,)),
]
FUNCTIONS = {
    "unpooled signal": lambda x: F.max_unpool1d(*F.max_pool1d(x, 3, 2, return_indices=True), 3, 2),
    "unpooled image": lambda x: nn.MaxUnpool2d(2)(*F.max_pool2d(x[:, None], 2, return_indices=True), x[:, None].shape),
    "unpooled volume": lambda x: nn.MaxUnpool3d((1, 2, 2))(
        *nn.MaxPool3d((1, 2, 2), return_indices=True)(x[:, None, None]), output_size=x[:, None, None].shape
    ),
    "distances": lambda x: torch.cdist(x, x.flip(0) * 0.7, p=3.0),
    "distances by a product": lambda x: torch.cdist(x.reshape(-1, 2), x.reshape(-1, 2)[:5] + 3),
    "distances of pairs": lambda x: F.pdist(x[0]),
    "normalized": lambda x: F.normalize(x, dim=(1, 2)),
    "antialias": lambda x: F.interpolate(x[:, None], (3, 4), mode="bicubic", antialias=True),
    "a table and its row": lambda x: F.embedding(ROWS, x[0], padding_idx=-1) + torch.embedding(x[1], ROWS[0]),
    "one of classes": lambda x: x @ F.one_hot(ROWS[0], 7).to(x.dtype).mT,
    "batch norm": lambda x: torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
}


def assert_verified(model, *inputs):
    """In float64 and in float32, or equal to its contract."""
    for dtype in (torch.float64, torch.float32):
        given = tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)
        report = bptrain.check_gradients(model.to(dtype) if isinstance(model, nn.Module) else model, given)
        assert report.verdict in ("verified", "contract"), report


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("layer", "shape"), [pytest.param(*x, id=f"{x[0]}-{len(x[1])}") for x in LAYERS])
def test_a_layer_is_verified(layer, shape):
    torch.manual_seed(0)
    assert_verified(layer, torch.rand(shape) + 0.1)


@pytest.mark.parametrize(("layer", "first", "second"), [pytest.param(*x, id=str(x[0])) for x in PAIRS])
def test_a_layer_of_two_inputs_is_verified(layer, first, second):
    torch.manual_seed(0)
    assert_verified(layer, torch.randn(first), torch.randn(second))


@pytest.mark.parametrize(("table", "inputs"), [pytest.param(*x, id=f"{x[0]}-{len(x[1])}") for x in TABLES])
def test_a_table_is_verified_by_its_contracts(table, inputs):
    torch.manual_seed(0)
    assert_verified(table, *inputs)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_verified(name):
    torch.manual_seed(0)
    assert_verified(FUNCTIONS[name], torch.randn(13, 5, 7) if "product" not in name else torch.randn(13, 2, 2))


class Twice(nn.Module):
    """A table that shortens its rows each time it is read."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 3, max_norm=0.5)

    def forward(self, x):
        return self.table(x) * self.table(x.flip(0)).sin()


class Clamped(nn.Module):
    """A parameter overwritten under autograd's nose, before or after a use of it."""

    def __init__(self, how, when):
        super().__init__()
        self.weight, self.how, self.when = nn.Parameter(torch.randn(3, 4)), how, when

    def clamp(self):
        if self.how == "data":
            self.weight.data.clamp_(-0.3, 0.3)
        else:
            with torch.no_grad():
                self.weight.clamp_(-0.3, 0.3)

    def forward(self, x):
        if self.when == "before":
            self.clamp()
        y = x @ self.weight
        if self.when == "after":
            self.clamp()
        return y * self.weight.sum()


def test_a_table_that_is_changed_at_each_use_keeps_all_its_gradients():
    torch.manual_seed(0)
    assert_verified(Twice(), ROWS)


@pytest.mark.parametrize("how", ["data", "no_grad"])
def test_a_parameter_overwritten_before_its_use_keeps_all_its_gradients(how):
    torch.manual_seed(0)
    assert_verified(Clamped(how, "before"), torch.randn(2, 3))


def test_a_parameter_overwritten_through_data_after_its_use_is_named():
    torch.manual_seed(0)
    report = bptrain.check_gradients(Clamped("data", "after"), torch.randn(2, 3))
    assert [call.function for call in report.culprits] == ["torch.Tensor.matmul"], report


def test_a_row_that_torch_divides_by_the_frequency_of_another_is_named():
    table = nn.EmbeddingBag(5, 3, mode="sum", scale_grad_by_freq=True)
    table(torch.tensor([[1, 1, 3]])).sum().backward()
    right = bool((table.weight.grad[3] == 1).all())  # from the release that has pytorch/pytorch#190264 on
    assert bptrain.check_gradients(table, torch.tensor([[1, 1, 3]])).ok is right


def test_a_nearest_neighbour_that_torch_picks_by_another_rounding_on_its_way_back_is_named():
    x = torch.arange(25.0, dtype=torch.float64).reshape(1, 1, 25).requires_grad_()
    y = F.interpolate(x, 115)
    y.sum().backward()
    right = torch.equal(x.grad.flatten().long(), y.flatten().long().bincount())
    assert bptrain.check_gradients(lambda x: F.interpolate(x, 115), x.detach()).ok is right
