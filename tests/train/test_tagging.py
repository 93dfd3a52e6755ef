"""Runs that tag: what fits together, and what is learned from a few sentences."""

import pytest

from bptrain.config.compose import compose, settings_of
from bptrain.errors import RequestError
from bptrain.train.fit import fit
from bptrain.train.record import Checked, Finished
from bptrain.train.run import build

# Whether `can` is a verb or a noun is told by the word before it.
SENTENCES = ("the/at can/nn falls/vbz", "you/pps can/md fall/vb", "he/pps can/md", "the/at man/nn falls/vbz ./.")


@pytest.fixture
def run(tmp_path):
    (tmp_path / "brown").mkdir()
    for number in range(1, 7):
        (tmp_path / "brown" / f"cm{number:02}").write_text("\n".join(SENTENCES))
    data = ["data=brown", "data.categories=[science_fiction]", f"data.folder={tmp_path}", "data.split.by=interleaved"]
    small = ["data.split.test=0.2", "optimizer.lr=0.03", "fit.epochs=12", "fit.batch_size=6"]

    def run(*overrides):
        return build(settings_of(compose(["experiment=null", *data, *small, *overrides])))

    return run


@pytest.mark.parametrize(
    "model",
    [
        ["model=gru", "model.output=each", "model.hidden=8"],
        ["model=crf", "loss=crf", "model.hidden=8"],
        ["model=crf", "loss=crf", "model.features=mlp", "model.hidden=8", "precision=bf16"],
    ],
    ids=" ".join,
)
def test_tags_are_learned_and_their_gradients_verified(run, model):
    records = list(fit(run(*model)))
    (checked,) = (record for record in records if isinstance(record, Checked))
    assert checked.report.ok
    assert checked.report.verdict == "verified"
    finished = records[-1]
    assert isinstance(finished, Finished)
    assert finished.scores["token_accuracy"] == finished.scores["sequence_accuracy"] == 1


def test_a_crf_makes_one_step_of_several_batches(run):
    records = list(fit(run("model=crf", "loss=crf", "model.hidden=4", "fit.accumulate=2", "fit.epochs=1")))
    assert next(record for record in records if isinstance(record, Checked)).report.ok


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model=gru", "model.output=each", "fit.accumulate=2"], "fit.accumulate: tokens fit.batch_size"),
        (["model=gru"], "model.output: last each"),
        (["model=gru", "model.output=each", "loss=crf"], "loss: outputs"),
        (["model=crf"], "model: Chain"),
        (["model=cnn"], "model: cnn tagging gru crf"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_together_is_refused(run, overrides, words):
    with pytest.raises(RequestError) as error:
        run(*overrides)
    assert all(word in str(error.value) for word in words.split())
