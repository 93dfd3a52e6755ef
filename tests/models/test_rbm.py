"""The restricted Boltzmann machine against all of its states, one by one."""

from itertools import product

import pytest
import torch

from bptrain.data.bundled import Digits
from bptrain.errors import RequestError
from bptrain.losses.density import ContrastiveDivergence
from bptrain.models.rbm import RBM
from bptrain.modules.rbm import enumerable


def built(visible=5, hidden=3, scale=1.0, **settings):
    """A machine in float64 with weights that are not small."""
    torch.manual_seed(1)
    model = RBM(hidden, **settings).build((visible,), 0).double()
    for parameter in model.parameters():
        parameter.data = scale * torch.randn(parameter.shape, dtype=torch.float64)
    return model


def states(count):
    return torch.tensor(list(product([0.0, 1.0], repeat=count))).double()


def energies(model):
    """E(v, h) of every pair of states, (2^D, 2^H)."""
    hidden, visible = model.weight.shape
    v, h = states(visible), states(hidden)
    pairs = torch.einsum("vi,hj,ji->vh", v, h, model.weight)
    return -(pairs + (v @ model.visible_bias)[:, None] + h @ model.hidden_bias)


@pytest.mark.parametrize(("visible", "hidden"), [(5, 3), (3, 5), (4, 4)])
def test_free_energy_and_partition_function_are_sums_over_states(visible, hidden):
    model = built(visible, hidden)
    boltzmann = (-energies(model)).exp()
    torch.testing.assert_close(model.free_energy(states(visible)), -boltzmann.sum(1).log())
    torch.testing.assert_close(model.log_partition(), boltzmann.sum().log())


def test_an_exact_machine_has_the_gradient_of_the_likelihood():
    model, x = built(exact=True), torch.randint(2, (7, 5)).double()
    loss = ContrastiveDivergence().build(None)(model(x), x)
    loss.backward()
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    log_p = (-energies(model)).logsumexp(1) - (-energies(model)).flatten().logsumexp(0)
    rows = (x @ torch.tensor([16.0, 8, 4, 2, 1]).double()).long()
    expected = -log_p[rows].mean()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours, [p.grad for p in model.parameters()])


def test_the_likelihoods_of_all_states_sum_to_1():
    surprise, means = built().eval().predict(states(5))
    assert (-surprise).exp().sum().item() == pytest.approx(1)
    assert means.shape == (32, 5)


@pytest.mark.parametrize("steps", [1, 3])
def test_contrastive_divergence_is_the_difference_of_two_means_of_correlations(steps):
    model, x = built(steps=steps), torch.randint(2, (7, 5)).double()
    torch.manual_seed(3)
    ContrastiveDivergence().build(None)(model(x), x).backward()
    torch.manual_seed(3)
    v = x
    for _ in range(steps):
        h = (torch.rand(7, 3, dtype=torch.float64) < torch.sigmoid(v @ model.weight.T + model.hidden_bias)).double()
        v = (torch.rand(7, 5, dtype=torch.float64) < torch.sigmoid(h @ model.weight + model.visible_bias)).double()

    def probabilities(v):
        return torch.sigmoid(v @ model.weight.T + model.hidden_bias).detach()

    torch.testing.assert_close(model.weight.grad, (probabilities(v).T @ v - probabilities(x).T @ x) / 7)
    torch.testing.assert_close(model.visible_bias.grad, (v - x).mean(0))
    torch.testing.assert_close(model.hidden_bias.grad, (probabilities(v) - probabilities(x)).mean(0))


def test_persistent_chains_come_to_the_distribution_of_the_machine():
    model = built(persistent=True, chains=20_000, steps=30)
    model(torch.zeros(2, 5).double())
    expected = (-energies(model)).exp().sum(1)
    rows = (model.chains @ torch.tensor([16.0, 8, 4, 2, 1]).double()).long()
    torch.testing.assert_close(
        rows.bincount(minlength=32) / 20_000, (expected / expected.sum()).float(), atol=0.02, rtol=0
    )


def test_persistent_chains_go_on_in_training_and_rest_in_evaluation():
    model, x = built(persistent=True, chains=9), torch.zeros(2, 5).double()
    start = model.chains.clone()
    model.eval()
    model(x)
    assert torch.equal(model.chains, start)
    model.train()
    data, own = model(x)
    assert (data.shape, own.shape) == ((2,), (9,))
    assert not torch.equal(model.chains, start)
    torch.testing.assert_close(own, model.free_energy(model.chains))
    assert "chains" in model.state_dict()


def test_the_estimate_of_a_large_machine_is_near_the_sum():
    model = built(12, 9, scale=4.0)
    state = torch.get_rng_state()
    estimate = model.annealed_log_partition()
    assert estimate.item() == pytest.approx(model.log_partition().item(), abs=0.03)
    assert torch.equal(estimate, model.annealed_log_partition())
    assert torch.equal(torch.get_rng_state(), state)


def test_visible_units_start_with_the_frequencies_of_the_training_part():
    model = RBM(2).build((3,), 0)
    x = torch.tensor([[0.0, 1, 1], [0, 0, 1], [0, 1, 1], [0, 1, 1]])
    model.condition(x, x)
    torch.testing.assert_close(model.visible_bias.sigmoid(), torch.tensor([1 / 6, 4 / 6, 5 / 6]))


def test_20_units_of_one_side_can_be_summed_over():
    assert enumerable(64, 20)
    assert enumerable(12, 500)
    assert not enumerable(64, 21)
    assert not enumerable(784, 20)


def test_values_other_than_0_and_1_and_sums_over_too_many_states_are_refused():
    model = RBM()
    with pytest.raises(RequestError, match=r"0 and 1, .* data\.binarize=0\.5 and data\.standardize=false"):
        model.network(model.prepared(Digits().load(0)), 64)
    assert model.network(model.prepared(Digits(standardize=False, binarize=0.5).load(0)), 64)
    with pytest.raises(RequestError, match=r"model\.exact: .* 64 hidden and 64 visible"):
        RBM(exact=True).build((1, 8, 8), 64)
    with pytest.raises(RequestError, match=r"model\.exact: .* model\.persistent"):
        RBM(exact=True, persistent=True)


def test_a_loss_takes_what_its_own_model_gives():
    with pytest.raises(TypeError, match="model=rbm"):
        ContrastiveDivergence().build(None)(torch.zeros(2, 2), None)
