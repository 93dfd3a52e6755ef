"""Layout: channels last where it was measured faster and is as exact, with the results of the other to rounding."""

import pytest
import torch
from torch import nn

from bptrain.train import run as module
from bptrain.train.checkpoint import Checkpoint, write
from bptrain.train.fit import fit
from bptrain.train.layout import channels_last

CNN = ["data=digits", "model=cnn", "model.channels=[3,5]", "model.sizes=[]", "fit.batch_size=400", "fit.epochs=1"]


def last(model):
    """Whether each 2-d convolution keeps its weights with channels last."""
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.in_channels > 1]
    return [w.is_contiguous(memory_format=torch.channels_last) and not w.is_contiguous() for w in weights]


@pytest.mark.parametrize(
    ("words", "is_last"),
    [
        (["model.norm=none"], True),
        (["model.norm=batch"], False),
        (["model.norm=batch", "precision=bf16"], True),
        (["model.norm=layer"], True),
    ],
)
def test_images_have_their_channels_last_but_where_that_would_cost_digits(run_of, words, is_last):
    assert last(run_of(*CNN, *words).state.model) == [is_last]


def test_other_devices_are_left_alone():
    model = nn.Conv2d(3, 4, 3)
    channels_last(model, torch.device("cuda"), "fp32")
    assert model.weight.is_contiguous()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_results_and_files_are_those_of_the_other_layout(run_of, monkeypatch, precision):
    kept = []
    for layout in (channels_last, lambda *_: None):
        monkeypatch.setattr(module, "channels_last", layout)
        run = run_of(*CNN, "optimizer=adam", f"precision={precision}")
        assert last(run.state.model) == [layout is channels_last]
        before = write(Checkpoint(run.state.snapshot()))["model.safetensors"]
        records = list(fit(run))  # which raises where a check finds fault
        kept.append((before, run.state.model.state_dict(), records[-1].scores["loss"]))
    (files, weights, loss), (their_files, their_weights, their_loss) = kept
    assert files == their_files
    tolerance = {"fp32": 1e-5, "bf16": 5e-3}[precision]
    torch.testing.assert_close(weights, their_weights, rtol=0, atol=tolerance)
    assert loss == pytest.approx(their_loss, rel=tolerance)
