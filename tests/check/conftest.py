"""Steps to check: a small run, and what the check says of one that is wrong."""

import pytest
import torch

from bptrain.check.verdict import WRONG
from bptrain.config.compose import compose, settings_of
from bptrain.errors import GradientsWrong
from bptrain.train.fit import check
from bptrain.train.run import build


@pytest.fixture
def batches():
    """Accumulated in one step, of unequal sizes."""
    return [torch.arange(5), torch.arange(5, 16)]


@pytest.fixture
def run_of():
    def run_of(*overrides, engine=None):
        """A small run, its engine one of another class."""
        sizes = [] if "model=gru" in overrides else ["model.sizes=[5]"]
        run = build(settings_of(compose(["data=iris", *sizes, *overrides])))
        if engine is not None:
            run.engine = engine(run.state, run.loss, run.dataset.parts["train"], run.settings.fit.clip, run.casts)
        return run

    return run_of


@pytest.fixture
def said(batches):
    def said(run, given=batches):
        """What the check of a step says that is wrong."""
        report = check(run, given, run.engine.step).report
        assert report.verdict == WRONG
        with pytest.raises(GradientsWrong):
            report.raise_if_wrong()
        return report.summary()

    return said
