"""Every optimizer of the config group, trained for some steps on a small network, all of them checked."""

import pytest

from bptrain.config.component import components
from bptrain.config.compose import compose, settings_of
from bptrain.train.fit import fit
from bptrain.train.record import Checked
from bptrain.train.run import build


@pytest.mark.parametrize("name", sorted(components("optimizer")))
def test_the_steps_of_an_optimizer_are_verified(name):
    words = ["data=iris", "model.sizes=[5,3]", "fit.batch_size=50", "fit.epochs=3", "check.every=1"]
    words += ["optimizer.max_iter=3"] * (name == "lbfgs")
    run = build(settings_of(compose([*words, f"optimizer={name}"])))
    checked = [record for record in fit(run) if isinstance(record, Checked)]
    assert len(checked) >= 3
    for record in checked:
        assert record.report.verdict == "verified", record.report
        assert record.report.update.entries
