"""fit.tbptt: how far the gradient goes back in training, which the check says is by design."""

import pytest
import torch

from bptrain.config.compose import compose, settings_of
from bptrain.errors import RequestError
from bptrain.train.fit import fit
from bptrain.train.record import Checked
from bptrain.train.run import build


def made(*words):
    return build(settings_of(compose(["data=mnist1d", "model=gru", "model.hidden=6", "fit.epochs=1", *words])))


def gradients(run):
    run.engine._forget()
    run.engine._gradient([torch.arange(20)])
    return {name: p.grad for name, p in run.state.model.named_parameters()}


@pytest.mark.parametrize("model", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("output", ["last", "every", "mean"])
def test_all_steps_are_all_of_the_gradient_and_fewer_are_not(model, output):
    words = [f"model={model}", f"model.output={output}"]
    whole, covered, cut = (gradients(made(*words, f"fit.tbptt={k}")) for k in ("null", 40, 9))
    assert all(torch.equal(whole[name], covered[name]) for name in whole)
    for name in ("head.weight", "head.bias"):
        torch.testing.assert_close(cut[name], whole[name])
    assert not any(torch.equal(whole[name], cut[name]) for name in whole if name.startswith("layers"))


def test_the_gradient_of_the_last_state_sees_no_step_before_the_last_cut():
    """Of 40 steps in chunks of 9 the last chunk has 4."""
    run = made("fit.tbptt=9")
    x = run.dataset.parts["train"].inputs[:3].clone().requires_grad_()
    run.state.model(x).sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    assert seen.tolist() == [False] * 36 + [True] * 4


@pytest.mark.parametrize("model", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("output", ["last", "every"])
def test_the_check_calls_the_cut_a_contract(model, output):
    run = made(f"model={model}", f"model.output={output}", "fit.tbptt=9", "fit.batch_size=3000")
    (checked,) = [record for record in fit(run) if isinstance(record, Checked)]
    assert checked.report.verdict == "contract", checked.report
    assert "detach" in checked.report.summary()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=mlp"], "mlp does not read step by step"),
        (["model.bidirectional=true"], "bidirectional gru also comes from its end"),
    ],
)
def test_what_can_not_be_cut_is_refused(words, said):
    with pytest.raises(RequestError, match=f"fit.tbptt.*{said}"):
        build(settings_of(compose(["data=mnist1d", "model=gru", *words, "fit.tbptt=9"])))
