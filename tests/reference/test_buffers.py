"""The buffers that a forward pass changes, by hand, against torch's."""

import pytest
import torch
from torch import nn

from bptrain.reference.buffers import running_statistics


@pytest.mark.parametrize("momentum", [0.1, 0.4, 1.0, None])
@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (5, 3)), (nn.BatchNorm2d, (2, 3, 4, 5))])
def test_running_statistics_are_those_of_torch_batch_after_batch(kind, shape, momentum):
    torch.manual_seed(0)
    norm = kind(3, momentum=momentum, dtype=torch.float64)
    ours = [norm.running_mean.clone(), norm.running_var.clone(), norm.num_batches_tracked.clone()]
    for _ in range(3):
        x = 2 + 3 * torch.randn(shape, dtype=torch.float64)
        norm(x)
        ours = running_statistics(x, *ours, norm.momentum)
        theirs = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)
