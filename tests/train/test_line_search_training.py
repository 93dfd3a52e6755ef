"""Training with a line search: one iteration an epoch, and an end of its own."""

from itertools import pairwise

import pytest

from bptrain.config.compose import compose, settings_of
from bptrain.errors import RequestError
from bptrain.optim.line_search import CONVERGED
from bptrain.train.fit import fit
from bptrain.train.record import Evaluated, Stepped
from bptrain.train.run import build


def made(*words):
    words = ["data=iris", "model.sizes=[4]", "check.enabled=false", *words]
    return build(settings_of(compose(words)))


@pytest.mark.parametrize("name", ["bfgs", "cg"])
def test_the_loss_falls_at_every_epoch_until_no_gradient_is_above_gtol(name):
    run = made(f"optimizer={name}", "optimizer.gtol=0.02", "fit.epochs=500", "fit.evaluate=1000")
    records = list(fit(run))
    losses = [record.loss.item() for record in records if isinstance(record, Stepped)]
    assert 5 < len(losses) < 500
    assert all(after < before for before, after in pairwise(losses))
    assert max(p.grad.abs().max() for p in run.state.model.parameters()) <= 0.02
    assert records[-1].early == CONVERGED
    (evaluated,) = [record for record in records if isinstance(record, Evaluated)]  # the last epoch is, whichever it is
    assert evaluated.epoch == len(losses)
    short = list(fit(made(f"optimizer={name}", "fit.epochs=3")))
    assert not short[-1].early


@pytest.mark.parametrize(
    ("words", "where"),
    [(["fit.clip=1"], "fit.clip"), (["scheduler=cosine"], "scheduler"), (["scheduler.warmup=2"], "scheduler")],
)
def test_what_would_mislead_the_search_is_refused(words, where):
    with pytest.raises(RequestError) as refused:
        made("optimizer=cg", *words)
    assert [problem.where for problem in refused.value.problems] == [where]
