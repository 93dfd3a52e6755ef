"""The Gaussian process: kernels and likelihood against scikit-learn, gradients against the closed form."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as theirs

from bptrain.check.gradients import check_gradients
from bptrain.config.compose import compose, settings_of
from bptrain.config.read import read_component
from bptrain.errors import RequestError, RunFailed
from bptrain.models.autoencoder import Autoencoder
from bptrain.models.custom import Custom
from bptrain.models.gp import GaussianProcess
from bptrain.models.kernel import RBF, Constant, Linear, Matern, Periodic, Product, RationalQuadratic, Sum, White
from bptrain.models.mlp import MLP
from bptrain.modules.marginal_likelihood import MarginalLikelihood
from bptrain.train.run import build

DOT = theirs.DotProduct(0, sigma_0_bounds="fixed")
PAIRS = [
    (RBF(0.7), theirs.RBF(0.7), 3),
    (RBF((0.7, 1.3, 2.0)), theirs.RBF([0.7, 1.3, 2.0]), 3),
    (Matern(0.7, "1/2"), theirs.Matern(0.7, nu=0.5), 3),
    (Matern(0.7, "3/2"), theirs.Matern(0.7, nu=1.5), 3),
    (Matern((0.7, 1.9), "5/2"), theirs.Matern([0.7, 1.9], nu=2.5), 2),
    (Periodic(0.7, 1.3), theirs.ExpSineSquared(0.7, 1.3), 1),
    (RationalQuadratic(0.7, 1.3), theirs.RationalQuadratic(0.7, 1.3), 3),
    (Linear(1.7), 1.7 * DOT, 3),
    (Constant(1.7), theirs.ConstantKernel(1.7), 2),
    (
        Sum((Product((Constant(1.7), RBF(0.7), Linear(0.3))), Product((Periodic(), White(0.2))), White(0.1))),
        1.7 * theirs.RBF(0.7) * (0.3 * DOT)
        + theirs.ExpSineSquared() * theirs.WhiteKernel(0.2)
        + theirs.WhiteKernel(0.1),
        1,
    ),
]


def rows(count, features, seed=0):
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(autouse=True)
def float64():
    """So that start values are not rounded to float32, and 1e-8 is what is compared."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def network(kernel, inputs=1, **settings):
    return GaussianProcess(kernel, **{"jitter": 0.0, **settings}).build((inputs,), 1)


@pytest.mark.parametrize(("kernel", "judge", "features"), PAIRS)
def test_a_kernel_is_that_of_scikit_learn(kernel, judge, features):
    x, z = rows(7, features), rows(4, features, 1)
    ours = kernel.build(features)
    np.testing.assert_allclose(ours(x).detach(), judge(x.numpy()), atol=1e-8)
    np.testing.assert_allclose(ours(x, z).detach(), judge(x.numpy(), z.numpy()), atol=1e-8)
    np.testing.assert_allclose(ours.variance_at(x).detach(), judge.diag(x.numpy()), atol=1e-8)


@pytest.mark.parametrize(("kernel", "judge", "features"), PAIRS[:1] + PAIRS[2:6] + PAIRS[-1:])
def test_likelihood_and_prediction_are_those_of_scikit_learn(kernel, judge, features):
    x, y, new = rows(13, features), rows(13, 1, 1), rows(5, features, 2)
    model, loss = network(Sum((kernel, White(0.1))), features), MarginalLikelihood()
    judge = judge + theirs.WhiteKernel(0.1)
    gp = GaussianProcessRegressor(judge, alpha=0, optimizer=None).fit(x.numpy(), y[:, 0].numpy())
    assert -13 * loss(model(x), y).item() == pytest.approx(gp.log_marginal_likelihood_value_, abs=1e-8)
    model.condition(x, y)
    mean, deviation = gp.predict(new.numpy(), return_std=True)
    ours, variance = model.eval()(new)
    np.testing.assert_allclose(ours[:, 0].detach(), mean, atol=1e-8)
    np.testing.assert_allclose(variance[:, 0].detach(), deviation**2, atol=1e-8)
    assert torch.equal(model.predict(new), ours)


def test_gradients_are_the_closed_form():
    x, y = rows(11, 1), rows(11, 1, 1)
    model = network(
        Sum((Product((Constant(1.5), RBF(0.75))), Periodic(1.25, 2.0), RationalQuadratic(0.5, 2), White(0.25)))
    )
    (11 * MarginalLikelihood()(model(x), y)).backward()
    variance, length, wave, period, rq_length, alpha, noise = (p.exp().item() for p in model.parameters())
    x, y = x.numpy(), y[:, 0].numpy()
    d = x - x.T
    rbf = variance * np.exp(-(d**2) / (2 * length**2))
    angle = np.pi * d / period
    waves = np.exp(-2 * np.sin(angle) ** 2 / wave**2)
    base = 1 + d**2 / (2 * alpha * rq_length**2)
    rq = base**-alpha
    identity = np.eye(11)
    by_logarithm = [  # dK / d log theta, by hand
        rbf,
        rbf * d**2 / length**2,
        waves * 4 * np.sin(angle) ** 2 / wave**2,
        waves * 4 * np.sin(angle) * np.cos(angle) * angle / wave**2,
        rq / base * d**2 / rq_length**2,
        rq * alpha * (-np.log(base) + (base - 1) / base),
        noise * identity,
    ]
    inverse = np.linalg.inv(rbf + waves + rq + noise * identity)
    a = inverse @ y
    for parameter, dk in zip(model.parameters(), by_logarithm, strict=True):
        expected = -np.trace((np.outer(a, a) - inverse) @ dk) / 2
        assert parameter.grad.item() == pytest.approx(expected, abs=1e-8, rel=1e-8)


@pytest.mark.parametrize("kernel", [pair[0] for pair in PAIRS if pair[2] == 1] + [Matern(nu="1/2"), Matern(nu="5/2")])
def test_gradients_are_verified(kernel):
    model = network(Sum((kernel, White(0.5))), mean="constant").float()
    report = check_gradients(model, rows(7, 1).float(), rows(7, 1, 1).float(), MarginalLikelihood())
    assert {call.verdict for call in report.calls} <= {"verified", "contract"}
    assert report.ok


def test_a_deep_kernel_is_the_kernel_of_what_the_network_gives_and_learns_with_it():
    model = network(Sum(), 3, features=MLP((5,)), width=2)
    x, y = rows(9, 3), rows(9, 1, 1)
    mean, covariance = model(x)
    torch.testing.assert_close(covariance, model.kernel(model.features(x)))
    MarginalLikelihood()((mean, covariance), y).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.features.parameters() if p.dim() > 1)


def test_without_data_it_predicts_the_prior_and_with_data_what_it_saw():
    model = network(RBF(), jitter=1e-9).eval()
    x, y = torch.arange(4.0, dtype=torch.float64)[:, None], rows(4, 1)
    mean, variance = model(x)
    assert torch.equal(mean, torch.zeros(4, 1, dtype=torch.float64))
    assert torch.equal(variance, torch.ones(4, 1, dtype=torch.float64))
    model.condition(x, y)
    mean, variance = model(x)
    torch.testing.assert_close(mean, y, atol=1e-6, rtol=0)
    assert variance.max() < 1e-6


def test_with_variances_the_loss_is_the_log_density_of_each_target():
    mean, variance, y = rows(5, 1), rows(5, 1, 1).square() + 0.5, rows(5, 1, 2)
    expected = -torch.distributions.Normal(mean, variance.sqrt()).log_prob(y).mean()
    torch.testing.assert_close(MarginalLikelihood()((mean, variance), y), expected)


def test_a_tree_of_kernels_is_read_from_plain_mappings():
    parts = [{"name": "product", "parts": [{"name": "constant", "variance": 2}, "rbf"]}, {"name": "white"}]
    problems = []
    read = read_component("model/kernel", {"name": "sum", "parts": parts}, "model.kernel", problems)
    assert read == Sum((Product((Constant(2.0), RBF())), White()))
    assert not problems
    read_component("model/kernel", {"name": "sum", "parts": [{"name": "rfb"}]}, "model.kernel", problems)
    assert "no model/kernel 'rfb'" in str(problems[0])


FIT = ["data=diabetes", "model=gp", "loss=marginal_likelihood", "fit.epochs=1"]


def test_a_run_takes_all_rows_and_judges_the_interval():
    run = build(settings_of(compose([*FIT, "fit.batch_size=8", "metrics=[rmse,coverage]"])))
    assert run.batch_size == len(run.dataset.parts["train"])
    assert [metric.name for metric in run.metrics] == ["rmse", "coverage"]
    mean, variance = torch.zeros(4, 1), torch.full((4, 1), 4.0)
    judge = run.metrics[1].compute
    assert judge((mean, variance), torch.tensor([[3.9], [-3.9], [4.0], [0.0]]), run.dataset).item() == 0.75


REFUSED = [
    (lambda: GaussianProcess().build((3,), 2), "model: predicts one number 2 columns model=mlp"),
    (lambda: GaussianProcess(RBF((1.0, 2.0))).build((3,), 1), "model.kernel: length 2 entries 3 inputs"),
    (lambda: Sum(()), "model.kernel.parts: nothing"),
    (lambda: GaussianProcess(features=Custom("os:system")), "model.features: can't be custom"),
    (lambda: GaussianProcess(features=GaussianProcess()), "model.features: can't be gp"),
    (lambda: GaussianProcess(features=Autoencoder()), "model.features: can't be autoencoder"),
    (lambda: build(settings_of(compose([*FIT, "model=mlp"]))), "loss: covariance model=gp"),
    (lambda: build(settings_of(compose([*FIT, "loss=mse"]))), "model: gives a tuple"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED)
def test_what_does_not_fit_is_refused(make, words):
    with pytest.raises(RequestError) as error:
        make()
    assert all(word in str(error.value) for word in words.split()), str(error.value)


def test_a_covariance_that_rounding_has_spoiled_is_told():
    model = network(RBF(1e3)).float()
    with pytest.raises(
        RunFailed, match=r"not positive definite in float32: write precision=fp64, or raise model\.jitter"
    ):
        MarginalLikelihood()(model(rows(30, 1).float()), rows(30, 1).float())
