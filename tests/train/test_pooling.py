"""Max pooling as elementwise calls: torch's values, places and gradients to the bit, ties, infinities and NaN too."""

import pytest
import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from bptrain.train.pooling import ELEMENTWISE


def pooled(x, dy, **options):
    x = x.detach().requires_grad_()
    y, places = F.max_pool2d(x, return_indices=True, **options)
    return [y.detach(), places, *torch.autograd.grad(y, x, dy)]


def images(dtype, memory_format):
    """(2, 3, 7, 5) with many ties, a window that is all -inf, one NaN in a window and two."""
    x = torch.randint(-2, 3, (2, 3, 7, 5), generator=torch.Generator().manual_seed(0)).to(dtype)
    x[0, 0, 0, 1] = x[0, 2, 0, 0] = x[0, 2, 1, 1] = float("nan")
    x[0, 1, 2:4] = float("-inf")
    return x.to(memory_format=memory_format)


def elementwise(x, **options):
    """The results by calls on elements and by torch; and whether a call that pools is left."""
    dy = torch.randn(F.max_pool2d(x, **options).shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
    graph = make_fx(lambda x, dy: pooled(x, dy, **options), ELEMENTWISE, tracing_mode="fake")(x, dy)
    return graph(x, dy), pooled(x, dy, **options), "max_pool2d" in graph.code


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", [2, (3, 2), (1, 3)])
def test_values_places_and_gradients_are_those_of_torch(kernel, dtype, memory_format):
    ours, theirs, pools = elementwise(images(dtype, memory_format), kernel_size=kernel)
    assert not pools
    for own, right in zip(ours, theirs, strict=True):
        assert own.dtype == right.dtype
        torch.testing.assert_close(own, right, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "options",
    [{"stride": 1}, {"padding": 1}, {"dilation": 2, "stride": 2}, {"ceil_mode": True}, {"kernel_size": (5, 2)}],
    ids=str,
)
def test_other_windows_are_left_to_torch(options):
    _, _, pools = elementwise(images(torch.float32, torch.contiguous_format), **{"kernel_size": 2} | options)
    assert pools
