"""Networks that read tokens: nothing after the end of a sequence has a part in what they say."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bptrain import check_gradients
from bptrain.data.dataset import PAD, Dataset, Part
from bptrain.errors import RequestError
from bptrain.models.crf import CRF
from bptrain.models.mlp import MLP
from bptrain.models.recurrent import GRU, LSTM, RNN
from bptrain.models.transformer import Transformer
from bptrain.modules.token_cross_entropy import TokenCrossEntropy

TOKENS = torch.tensor([[3, 1, 2, 4, 1], [2, 2, PAD, PAD, PAD], [4, 1, 3, PAD, PAD]])
TAGS = torch.tensor([[0, 1, 2, 0, 1], [1, 2, -100, -100, -100], [2, 0, 0, -100, -100]])
KINDS = [RNN, GRU, LSTM]


def data(task="classification", tokens=TOKENS):
    targets = TAGS if task == "tagging" else torch.zeros(len(tokens), dtype=torch.long)
    parts = {"train": Part(tokens, targets)}
    return Dataset("words", task, tuple(tokens.shape[1:]), 3, ("a", "b", "c"), parts, (), "", tuple("pxyzu"))


def built(model, task="classification"):
    torch.manual_seed(0)
    model.must_fit(data(task))
    network = model.network(data(task), 3)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.detach().mul_(3)  # so that what must not matter would be seen
    return network.eval()


SUMMARIES = [
    *(kind(4, layers=layers, bidirectional=both, output=output, embedding=3)
      for kind in KINDS for layers, both in ((1, False), (2, True)) for output in ("last", "mean", "every")),
    *(Transformer(8, 2, 2, 5, positions=positions, output=output)
      for positions in ("sinusoidal", "learned", "none") for output in ("last", "mean", "every")),
    MLP((4,), embedding=3),
]  # fmt: skip
TAGGERS = [
    *(kind(4, layers=2, bidirectional=both, output="each", embedding=3) for kind in KINDS for both in (False, True)),
    Transformer(8, 2, 2, 5, output="each"),
    MLP((4,), embedding=3),
]


@pytest.mark.parametrize("model", SUMMARIES, ids=repr)
def test_a_sequence_gives_the_same_alone_and_beside_longer_ones(model):
    network = built(model)
    together = network(TOKENS)
    assert together.shape == (3, 3)
    if model.name == "mlp" or model.output != "every":  # which has a head as wide as the data is long
        torch.testing.assert_close(network(TOKENS[2:, :3]), together[2:])
    torch.testing.assert_close(network(TOKENS[1:]), together[1:])


@pytest.mark.parametrize("model", TAGGERS, ids=repr)
def test_each_token_has_an_answer_that_is_the_same_alone(model):
    network = built(model, "tagging")
    together = network(TOKENS)
    assert together.shape == (3, 5, 3)
    torch.testing.assert_close(network(TOKENS[2:, :3]), together[2:, :3])
    assert not together[2, 3:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_both_directions_are_those_of_torch_over_the_tokens_there_are(kind):
    network = built(kind(4, bidirectional=True, output="each", embedding=3), "tagging")
    for row, length in enumerate((5, 2, 3)):
        states = network.layers(network.embedding(TOKENS[row, :length])[None])[0]
        torch.testing.assert_close(network(TOKENS)[row, :length], network.head(states[0]))


def test_the_last_state_of_tokens_is_at_the_last_one():
    network = built(GRU(4, embedding=3))
    states = network.layers(network.embedding(TOKENS[2, :3])[None])[0]
    torch.testing.assert_close(network(TOKENS)[2], network.head(states[0, -1]))


def test_an_mlp_reads_the_mean_of_the_tokens():
    network = built(MLP((), embedding=3))
    table = network.embedding.embedding.table.weight
    mean = (table[4] + table[1] + table[3]) / 3
    torch.testing.assert_close(network(TOKENS)[2], network.head(mean))


def test_an_mlp_tags_each_token_by_itself():
    scores = built(MLP((4,), embedding=3), "tagging")(TOKENS)
    torch.testing.assert_close(scores[0, 1], scores[2, 1])


@pytest.mark.parametrize(
    "model", [LSTM(3, output="last", embedding=2), Transformer(4, 2, 1, 3), MLP((3,), embedding=2)]
)
def test_an_empty_sequence_has_a_finite_answer(model):
    tokens = torch.tensor([[PAD, PAD, PAD, PAD, PAD], [1, 2, PAD, PAD, PAD]])
    assert built(model)(tokens).isfinite().all()


@pytest.mark.parametrize(
    ("model", "task", "verdict"),
    [
        (GRU(3, bidirectional=True, output="each", embedding=2), "tagging", "verified"),
        (LSTM(3, output="mean", embedding=2, head_dropout=0.3, embedding_dropout=0.3), "classification", "verified"),
        (Transformer(4, 2, 1, 3), "classification", "contract"),  # PAD is embedded, without a gradient
        (MLP((3,), embedding=2), "tagging", "verified"),
    ],
    ids=repr,
)
def test_gradients_are_verified(model, task, verdict):
    network = built(model, task).train()
    part = data(task).parts["train"]
    loss = TokenCrossEntropy() if task == "tagging" else nn.CrossEntropyLoss()
    report = check_gradients(network, part.inputs, part.targets, loss)
    assert report.verdict == verdict, report


def test_the_loss_of_tagging_is_the_mean_over_the_tokens_of_all_sequences():
    scores = torch.randn(3, 5, 3)
    each = [-F.log_softmax(scores[b, t], 0)[tag] for b, row in enumerate(TAGS) for t, tag in enumerate(row) if tag >= 0]
    torch.testing.assert_close(TokenCrossEntropy()(scores, TAGS), torch.stack(each).mean())


def test_signals_are_tagged_at_each_step():
    assert GRU(3, output="each", bidirectional=True).build((2, 7), 4)(torch.randn(5, 2, 7)).shape == (5, 7, 4)
    assert Transformer(4, 2, output="each").build((2, 7), 4)(torch.randn(5, 2, 7)).shape == (5, 7, 4)


def test_a_transformer_reads_signals_and_the_rows_of_images():
    for shape in ((2, 7), (3, 5, 4)):
        for output in ("last", "mean", "every"):
            assert Transformer(4, 2, output=output).build(shape, 3)(torch.randn(6, *shape)).shape == (6, 3)


def test_a_transformer_without_positions_does_not_see_the_order():
    network = built(Transformer(8, 2, 2, 5, positions="none"))
    torch.testing.assert_close(network(TOKENS[:1]), network(TOKENS[:1].flip(1)))


def test_positions_are_waves_of_growing_length():
    positions = Transformer(5, 1).build((1, 7), 2).positions
    waves = (math.sin, math.cos)
    expected = [[waves[i % 2](t / 10000 ** (i // 2 * 2 / 5)) for i in range(5)] for t in range(7)]
    torch.testing.assert_close(positions, torch.tensor(expected))


REFUSED = [
    (lambda: built(GRU(), "tagging"), "model.output: last tagging each"),
    (lambda: built(GRU(output="each")), "model.output: each classification last"),
    (lambda: built(Transformer(output="each")), "model.output: each mean"),
    (lambda: built(CRF()), "model: crf tagging"),
    (lambda: Transformer(6, 4), "model.heads: 4 model.width=6"),
    (lambda: Transformer().build((3,), 2), "model: transformer signals model=mlp"),
]


@pytest.mark.parametrize(("build", "words"), REFUSED)
def test_what_does_not_fit_is_refused(build, words):
    with pytest.raises(RequestError) as error:
        build()
    assert all(word in str(error.value) for word in words.split())
