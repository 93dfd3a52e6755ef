"""Cross-entropy over the tokens of sequences that are written."""

import numpy as np
import pytest
import torch

from bptrain.config.compose import compose, settings_of
from bptrain.data.dataset import Dataset, Part
from bptrain.errors import RequestError
from bptrain.losses.classification import CrossEntropy
from bptrain.train.run import build

TARGETS = torch.tensor([[2, 3, 1, 0], [1, 0, 0, 0], [2, 2, 3, 1]])
OUTPUT = np.random.default_rng(0).normal(size=(3, 4, 5))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_it_is_the_mean_over_all_tokens_and_no_padding(smoothing):
    dataset = Dataset("made", "transduction", (9,), 5, (), {"train": Part(TARGETS, TARGETS)}, (), "")
    loss = CrossEntropy(label_smoothing=smoothing).build(dataset)
    logs = OUTPUT - np.log(np.exp(OUTPUT).sum(2, keepdims=True))
    each = [
        -(1 - smoothing) * logs[i, j, token] - smoothing * logs[i, j].mean()
        for (i, j), token in np.ndenumerate(TARGETS.numpy())
        if token
    ]
    assert len(each) == 8
    assert loss(torch.tensor(OUTPUT), TARGETS).item() == pytest.approx(np.mean(each), rel=1e-12)


def test_batches_with_more_and_fewer_tokens_are_not_averaged(tmp_path):
    (tmp_path / "cmudict").mkdir()
    words = "\n".join(f"{a}{b} AH0 B" for a in "abcdef" for b in "ghijkl")
    (tmp_path / "cmudict" / "cmudict.dict").write_text(words)
    overrides = ["data=cmudict", f"data.folder={tmp_path}", "model=seq2seq", "fit.accumulate=2"]
    with pytest.raises(RequestError, match=r"fit.accumulate: .*transduction.*tokens"):
        build(settings_of(compose(overrides)))
