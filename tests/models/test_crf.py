"""The linear chain against all paths there are, one by one."""

import itertools

import pytest
import torch

from bptrain import check_gradients
from bptrain.data.dataset import IGNORED, PAD, Dataset, Part
from bptrain.losses.crf import CRFLoss
from bptrain.models.crf import CRF
from bptrain.modules.linear_chain import Chain, ChainLikelihood, LinearChain, best_path, log_partition

TAGS, LENGTHS = 3, (4, 1, 3)


def chain(steps=5, tags=TAGS, spread=2.0, rows=3):
    """A chain of random scores, which all have gradients."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((rows, steps, tags), (1, tags), (1, tags, tags), (1, tags))
    scores = (spread * torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)
    return Chain(*(score.requires_grad_() for score in scores))


def ragged(lengths=LENGTHS, steps=5):
    return torch.arange(steps) < torch.tensor(lengths)[:, None]


def paths(chain, row, length):
    """Every path of a row with its score."""
    emissions, start, transitions, end = (score.detach() for score in chain)
    for path in itertools.product(range(emissions.shape[2]), repeat=length):
        score = start[0, path[0]] + end[0, path[-1]]
        score = score + sum(emissions[row, t, tag] for t, tag in enumerate(path))
        yield path, score + sum(transitions[0, a, b] for a, b in itertools.pairwise(path))


def test_the_partition_sums_over_all_paths():
    scores = chain()
    expected = [torch.stack([s for _, s in paths(scores, b, n)]).logsumexp(0) for b, n in enumerate(LENGTHS)]
    torch.testing.assert_close(log_partition(scores, ragged()), torch.stack(expected))


def test_its_gradient_by_the_emissions_is_the_marginal_of_each_tag_at_each_step():
    scores = chain()
    log_partition(scores, ragged()).sum().backward()
    expected = torch.zeros_like(scores.emissions)
    for row, length in enumerate(LENGTHS):
        found = list(paths(scores, row, length))
        whole = torch.stack([score for _, score in found]).logsumexp(0)
        for path, score in found:
            for step, tag in enumerate(path):
                expected[row, step, tag] += (score - whole).exp()
    torch.testing.assert_close(scores.emissions.grad, expected)
    torch.testing.assert_close(expected.sum(2), ragged().double())


def test_the_best_path_is_the_best_of_all():
    scores = chain()
    found = best_path(scores, ragged())
    for row, length in enumerate(LENGTHS):
        best = max(paths(scores, row, length), key=lambda pair: pair[1])[0]
        assert tuple(found[row].tolist()) == (*best, *[IGNORED] * (5 - length))


def test_the_loss_is_minus_the_log_probability_of_the_tags():
    scores, tags = chain(), torch.tensor([[2, 0, 1, 1, IGNORED], [1] + 4 * [IGNORED], [0, 2, 2, IGNORED, IGNORED]])
    expected = []
    for row, length in enumerate(LENGTHS):
        known = dict(paths(scores, row, length))
        expected.append(torch.stack([*known.values()]).logsumexp(0) - known[tuple(tags[row, :length].tolist())])
    torch.testing.assert_close(ChainLikelihood()(scores, tags), torch.stack(expected).mean())


def test_the_gradient_is_the_expected_count_minus_the_observed_one():
    scores, tags = chain(), torch.tensor([[2, 0, 1, 1, IGNORED], [1] + 4 * [IGNORED], [0, 2, 2, IGNORED, IGNORED]])
    ChainLikelihood()(scores, tags).backward()
    counts = [torch.zeros_like(score) for score in scores[1:]]
    for row, length in enumerate(LENGTHS):
        found = list(paths(scores, row, length))
        whole = torch.stack([score for _, score in found]).logsumexp(0)
        observed = tuple(tags[row, :length].tolist())
        for path, weight in [*((path, (score - whole).exp()) for path, score in found), (observed, -1.0)]:
            start, transitions, end = counts
            start[0, path[0]] += weight
            end[0, path[-1]] += weight
            for before, after in itertools.pairwise(path):
                transitions[0, before, after] += weight
    for score, count in zip(scores[1:], counts, strict=True):
        torch.testing.assert_close(score.grad, count / len(LENGTHS))


@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_scores_of_any_size_overflow_nowhere(shift):
    scores = Chain(*(score.detach().float() for score in chain()))
    moved = scores._replace(emissions=scores.emissions + shift)
    lengths = ragged().sum(1)
    expected = log_partition(scores, ragged()) + shift * lengths
    torch.testing.assert_close(log_partition(moved, ragged()), expected)


def test_a_tag_that_is_ruled_out_leaves_loss_and_gradient_finite():
    scores = Chain(*(score.detach().float().requires_grad_() for score in chain(spread=500.0)))
    tags = torch.zeros(3, 5, dtype=torch.long)
    loss = ChainLikelihood()(scores, tags)
    loss.backward()
    assert loss.isfinite()
    assert all(score.grad.isfinite().all() for score in scores)


def test_its_gradients_are_verified():
    torch.manual_seed(0)
    tokens = torch.tensor([[1, 2, 3], [3, 2, PAD]])
    tags = torch.tensor([[0, 2, 1], [1, 1, IGNORED]])
    network = CRF(hidden=3, embedding=2).network(dataset(tokens, tags), 3)
    report = check_gradients(network, tokens, tags, ChainLikelihood())
    assert report.verdict == "verified", report
    assert report.coverage == {"calls": 1, "parameters": 1}


def dataset(tokens, tags, task="tagging"):
    parts = {"train": Part(tokens, tags)}
    return Dataset("words", task, tuple(tokens.shape[1:]), 3, ("a", "b", "c"), parts, (), "", ("", "x", "y", "z"))


@pytest.mark.parametrize("features", ["mlp", "rnn", "gru", "lstm"])
def test_the_paths_of_a_network_of_tokens_end_where_the_sequences_do(features):
    tokens = torch.tensor([[1, 2, 3, 1], [3, 2, PAD, PAD]])
    data = dataset(tokens, tokens)
    network = CRF(features, hidden=3, embedding=2).network(data, 3)
    assert isinstance(network, LinearChain)
    path = network.predict(tokens)
    assert ((path == IGNORED) == (tokens == PAD)).all()
    alone = network.predict(torch.tensor([[3, 2]]))
    assert torch.equal(path[1:, :2], alone)
    loss = CRFLoss()
    assert loss.output_shape(data) is None
    assert loss.build(data)(network(tokens), path) > 0


def test_signals_are_tagged_step_by_step():
    network = CRF(hidden=3).build((2, 5), 3)
    assert network.predict(torch.randn(4, 2, 5)).shape == (4, 5)


def test_portions_of_rows_may_be_joined():
    whole, rows = chain(), ragged()
    twice = Chain(whole.emissions, *(torch.cat([score, score]) for score in whole[1:]))
    assert torch.equal(log_partition(twice, rows), log_partition(whole, rows))


def test_scores_of_no_chain_are_refused_and_the_model_that_gives_one_is_named():
    with pytest.raises(TypeError, match="model=crf"):
        ChainLikelihood()(torch.randn(3, 5, TAGS), torch.zeros(3, 5, dtype=torch.long))
