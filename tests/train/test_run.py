"""What a run refuses when it is built: models, losses and metrics that do not take what they are given."""

import dataclasses

import pytest
import torch
from torch import nn

from bptrain.config.compose import compose, settings_of
from bptrain.data.dataset import Data, Dataset, Part
from bptrain.errors import RequestError, RunFailed
from bptrain.models.mlp import MLP
from bptrain.train.run import build

GP = ["data=diabetes", "model=gp", "loss=marginal_likelihood"]
DENSITY = ["data=digits", "data.binarize=0.5", "data.standardize=false"]


def settings(*overrides):
    return settings_of(compose(list(overrides)))


@dataclasses.dataclass(frozen=True)
class Made(Data):
    """A dataset of a test's own."""

    made: Dataset

    def load(self, seed):
        return self.made


def tags():
    """Signals (2, 4) of which each of the 4 steps has one of 3 tags."""
    parts = {name: Part(torch.randn(5, 4, 2).mT, torch.randint(3, (5, 4))) for name in ("train", "validation")}
    return Made(Dataset("made", "tagging", (2, 4), 3, ("a", "b", "c"), parts, (), ""))


def pulse(*labels):
    """Signals (1, 4), those of validation with labels."""
    part, judged = Part(torch.randn(7, 1, 4), torch.randn(7, 1)), torch.tensor(labels)
    parts = {"train": part, "validation": Part(part.inputs[: len(labels)], part.targets[: len(labels)], judged)}
    return Made(Dataset("pulse", "anomaly", (1, 4), 1, (), parts, (1.0,), ""))


@pytest.mark.parametrize(
    ("overrides", "data", "where", "instead"),
    [
        ([*GP, "loss=mse"], None, "model", "Write loss=marginal_likelihood."),
        ([*DENSITY, "model=rbm", "loss=elbo"], None, "model", "Write loss=contrastive_divergence."),
        (["model=crf", "model.hidden=3", "loss=cross_entropy"], tags, "model", "Write loss=crf."),
        ([*GP, "model=mlp"], None, "loss", "Write loss=huber or loss=l1 or loss=mse."),
        ([*DENSITY, "model=vae", "loss=contrastive_divergence"], None, "loss", "Write loss=elbo."),
        (["model=gru", "model.output=each", "loss=crf"], tags, "loss", "Write loss=cross_entropy."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_where_a_loss_does_not_take_what_the_model_gives_those_that_do_are_named(overrides, data, where, instead):
    wanted = settings("experiment=null", *overrides)
    with pytest.raises(RequestError) as caught:
        build(wanted if data is None else dataclasses.replace(wanted, data=data()))
    (problem,) = caught.value.problems
    assert (problem.where, problem.instead) == (where, instead)


class Returns(nn.Module):
    def __init__(self, returned):
        super().__init__()
        self.weight, self.returned = nn.Parameter(torch.zeros(1)), returned

    def forward(self, x):
        return self.returned


@dataclasses.dataclass(frozen=True)
class Returning(MLP):
    """A model whose network returns one thing, whatever it is given."""

    returned: object = None

    def network(self, dataset, outputs):
        return Returns(self.returned)


def test_of_outputs_that_no_loss_takes_none_is_named():
    recurrent = (torch.zeros(2, 3, 4), (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)))
    wanted = dataclasses.replace(settings("data=diabetes", "loss=mse"), model=Returning(returned=recurrent))
    with pytest.raises(RequestError, match=r"gives a tuple, not outputs of shape \(2, 1\)\.$"):
        build(wanted)


def test_an_error_with_its_own_cure_is_passed_on_as_it_is():
    with pytest.raises(RunFailed, match=r"^the covariance is not positive definite .* raise model\.jitter\.$"):
        build(settings(*GP, "model/kernel=linear", "model.jitter=0"))
    model = Returning(returned=(torch.zeros(2, 1), -torch.eye(2)))
    with pytest.raises(RunFailed, match=r"^the covariance is not positive definite"):
        build(dataclasses.replace(settings("data=diabetes", "loss=marginal_likelihood"), model=model))


@pytest.mark.parametrize("word", ["metrics=[coverage]", "monitor=coverage"])
def test_coverage_needs_a_model_that_gives_variances(word):
    with pytest.raises(RequestError, match=r"^metrics: coverage needs a variance .* model=gp does\.$"):
        build(settings("data=diabetes", "loss=mse", word))
    assert "coverage" in [metric.name for metric in build(settings(*GP, word)).metrics]


@pytest.mark.parametrize("metric", ["f1", "precision", "recall", "located"])
def test_what_judges_how_anomalies_are_found_is_monitored_only_where_validation_has_one(metric):
    wanted = settings("loss=mse", f"monitor={metric}")
    with pytest.raises(RequestError, match=rf"^monitor: {metric} .* validation part has none. Write monitor=loss\.$"):
        build(dataclasses.replace(wanted, data=pulse(0, 0, 0)))
    assert build(dataclasses.replace(wanted, data=pulse(0, 1, 0))).monitor == metric
    for other in ("rmse", "loss"):
        assert build(dataclasses.replace(settings("loss=mse", f"monitor={other}"), data=pulse(0, 0))).monitor == other
