"""The variational autoencoder: its bound against distributions of torch and against a likelihood that is known."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from bptrain.config.component import components
from bptrain.data.bundled import Digits
from bptrain.errors import RequestError
from bptrain.losses.density import ELBO
from bptrain.metrics import metrics_for
from bptrain.models.activation import Identity
from bptrain.models.vae import VAE


def built(shape=(2, 3), **settings):
    torch.manual_seed(0)
    return VAE(code=4, sizes=(5,), **settings).build(shape, 0).double()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_terms_are_those_of_torchs_distributions_at_the_code_that_was_drawn(likelihood):
    model = built(likelihood=likelihood)
    x = torch.rand(7, 2, 3).double().round()
    if likelihood == "gaussian":
        model.log_variance.data.fill_(-0.7)
    torch.manual_seed(5)
    surprise, divergence = model(x).unbind(1)
    torch.manual_seed(5)
    mean, log_variance = model.encoder(x).chunk(2, 1)
    posterior = Normal(mean, (log_variance / 2).exp())
    decoded = model.decoder(mean + posterior.scale * torch.randn(7, 4, dtype=torch.float64))
    given = Bernoulli(logits=decoded) if likelihood == "bernoulli" else Normal(decoded, math.exp(-0.35))
    torch.testing.assert_close(surprise, -given.log_prob(x).sum((1, 2)))
    prior = Normal(torch.zeros(4), torch.ones(4))
    torch.testing.assert_close(divergence, kl_divergence(posterior, prior).sum(1))


def test_with_the_true_posterior_the_bound_is_the_likelihood_and_else_it_lies_above():
    """x = w z + b + s e is normal, and z given x is N(w (x - b) / (w^2 + s^2), s^2 / (w^2 + s^2))."""
    torch.manual_seed(0)
    model = VAE(code=1, sizes=(), activation=Identity(), likelihood="gaussian").build((3,), 0).double()
    w, b, s2 = torch.tensor([0.9, -0.4, 0.3]).double(), torch.tensor([0.1, 0.2, -0.3]).double(), 0.25
    precision = w @ w + s2
    with torch.no_grad():
        model.log_variance.fill_(math.log(s2))
        model.decoder.head.weight.copy_(w[:, None])
        model.decoder.head.bias.copy_(b)
        model.encoder.code.weight.copy_(torch.stack([w / precision, 0 * w]))
        model.encoder.code.bias.copy_(torch.stack([-(w @ b) / precision, (s2 / precision).log()]))
    x = torch.tensor([0.7, -0.5, 0.4]).double()
    covariance = w[:, None] * w + s2 * torch.eye(3).double()
    expected = -MultivariateNormal(b, covariance).log_prob(x)
    many = x.expand(100_000, 3)
    assert model(many).sum(1).mean().item() == pytest.approx(expected.item(), abs=0.01)
    model.encoder.code.bias.data += torch.tensor([0.3, 0.5])
    assert model(many).sum(1).mean().item() > expected.item() + 0.05


def test_training_draws_from_torchs_generator_and_evaluation_from_one_of_its_own():
    model, x = built(), torch.rand(7, 2, 3).double()
    first, second = model(x), model(x)
    assert not torch.equal(first, second)
    model.eval()
    state = torch.get_rng_state()
    assert torch.equal(model(x), model(x))
    assert torch.equal(torch.get_rng_state(), state)


def test_float32_draws_what_float64_draws():
    model, x = built().eval(), torch.rand(7, 2, 3)
    torch.testing.assert_close(model.float()(x).double(), model.double()(x.double()), rtol=1e-4, atol=1e-4)


def test_predictions_are_the_bound_and_the_reconstruction_from_the_mean():
    for likelihood in ("bernoulli", "gaussian"):
        model, x = built(likelihood=likelihood).eval(), torch.rand(7, 2, 3).double()
        bound, reconstruction = model.predict(x)
        torch.testing.assert_close(bound, model(x).sum(1))
        decoded = model.decoder(model.encoder(x)[:, :4])
        expected = decoded.sigmoid() if likelihood == "bernoulli" else decoded
        torch.testing.assert_close(reconstruction, expected)
        found = {m.name: m.compute((bound, reconstruction), x, None) for m in metrics_for("density")}
        torch.testing.assert_close(found["nll"], bound.mean())
        torch.testing.assert_close(found["reconstruction_error"], (reconstruction - x).square().mean())


def test_beta_weighs_the_divergence():
    terms = torch.tensor([[1.0, 10.0], [2.0, 30.0]])
    assert ELBO(beta=0.5).build(None)(terms, None) == 1.5 + 0.5 * 20


@pytest.mark.parametrize("kind", ["convolutional", "recurrent"])
def test_encoder_and_decoder_can_be_of_every_kind(kind):
    model, x = built((2, 8), kind=kind), torch.rand(7, 2, 8).double()
    assert model(x).shape == (7, 2)
    assert model.predict(x)[1].shape == x.shape


def test_bernoulli_values_lie_between_0_and_1():
    dataset = components("model")["vae"]().prepared(Digits().load(0))
    with pytest.raises(
        RequestError, match=r"model\.likelihood: bernoulli .* 0 to 1, .* Write model\.likelihood=gaussian"
    ):
        VAE().network(dataset, 64)
    assert VAE(likelihood="gaussian").network(dataset, 64)
    assert VAE().network(VAE().prepared(Digits(standardize=False).load(0)), 64)
