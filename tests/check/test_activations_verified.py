"""Every activation, in a network, is verified: the rules, the tolerance and torch's kernels agree."""

import pytest
import torch
from torch import nn

import bptrain
from bptrain.config.component import components


@pytest.mark.parametrize("name", sorted(components("model/activation")))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_network_with_this_activation_is_verified(name, dtype):
    torch.manual_seed(0)
    activation = components("model/activation")[name]()
    first = nn.Conv2d(3, 4 * activation.widening, 3, padding=1)
    model = nn.Sequential(first, activation.build(), nn.Flatten(), nn.Linear(4 * 5 * 4, 3)).to(dtype)
    report = bptrain.check_gradients(
        model, torch.randn(6, 3, 5, 4, dtype=dtype), torch.randint(3, (6,)), nn.CrossEntropyLoss()
    )
    assert [call.verdict for call in report.calls if call.path == "1"] == (["verified"] if name != "identity" else [])
    assert report.ok, report
