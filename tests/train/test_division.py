"""What of a run can't be divided among processes by its rows, and is refused."""

import pytest
import torch
from torch import nn

from bptrain.config.compose import compose, settings_of
from bptrain.data.dataset import Part
from bptrain.errors import RequestError
from bptrain.train.division import Division, divide
from bptrain.train.requirements import batches_suit_batch_norm
from bptrain.train.run import build

DENSITY = ["data=digits", "data.binarize=0.5", "data.standardize=false"]


class Row(nn.Module):
    """Outputs of rows by themselves."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return x * self.weight


class Beside(Row):
    def forward(self, x):
        return super().forward(x) - x.mean(0)


class Remembering(Row):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x):
        if self.training:
            self.seen += x.detach().mean(0)
        return super().forward(x)


class Idle(Row):
    def __init__(self):
        super().__init__()
        self.idle = nn.Parameter(torch.ones(1))


def normalized(**options):
    return nn.Sequential(Row(), nn.BatchNorm1d(2, **options))


def division(model):
    x = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.25], [-2.0, 1.0], [0.0, 4.0]])
    return divide(model, nn.MSELoss(), Part(x, x))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Beside(), "outputs that depend on the other rows"),
        (Remembering(), "keeps seen, which depends on the rows"),
        (normalized(track_running_stats=False), "outputs that depend on the other rows"),
    ],
)
def test_a_network_whose_rows_belong_together_is_not_divided(model, words):
    with pytest.raises(RequestError, match=f"^model: .*{words}"):
        division(model)


def test_what_matters_of_a_network_is_found_out_and_leaves_it_as_it_is():
    model, before = normalized(), torch.get_rng_state()
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert division(model) == Division(normalizing=True, drawing=False, unused=False)
    assert division(nn.Sequential(Row(), nn.Dropout())) == Division(normalizing=False, drawing=True, unused=False)
    assert division(Idle()) == Division(normalizing=False, drawing=False, unused=True)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(dict(model.state_dict()), kept, rtol=0, atol=0)


@pytest.fixture
def one_rank():
    """In which this process is connected to no other."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer=lbfgs"], ["optimizer: lbfgs", "evaluates the loss itself"]),
        (["fit.engine=compiled"], ["fit.engine: compiled", "fit.engine=eager"]),
        (["fit.engine=auto"], ["fit.engine: auto", "fit.engine=eager"]),
        (["loss.weight=balanced"], ["torchrun", "loss.weight", "without torchrun"]),
        (["fit.strategy=fsdp", "optimizer=adafactor"], ["fit.strategy", "adafactor", "fit.strategy=ddp"]),
        (["data=diabetes", "model=gp", "loss=marginal_likelihood"], ["loss: marginal_likelihood", "no mean over rows"]),
        (
            [*DENSITY, "model=rbm", "loss=contrastive_divergence"],
            ["model: takes in the whole training part"],
        ),
        ([*DENSITY, "model=vae", "loss=elbo"], ["model: gives outputs that depend on the other rows"]),
    ],
    ids=lambda value: " ".join(value) if "=" in value[0] else "",
)
def test_what_is_no_mean_over_rows_is_not_divided(words, said, one_rank):
    with pytest.raises(RequestError) as caught:
        build(settings_of(compose(["experiment=null", "data=iris", *words])))
    assert "\n" not in str(caught.value)
    for word in said:
        assert word in str(caught.value)


def test_each_batch_must_have_a_row_for_each_process_where_it_is_normalized():
    settings, model = settings_of(compose(["data=iris", "model.norm=batch", "fit.batch_size=32"])), nn.BatchNorm1d(3)
    batches_suit_batch_norm(settings, model, 98, 32, processes=2)
    with pytest.raises(RequestError, match=r"^fit.batch_size: leaves a batch of 2 of the 98 rows, .* 3 processes"):
        batches_suit_batch_norm(settings, model, 98, 32, processes=3)
