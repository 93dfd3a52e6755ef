"""Sequence to sequence: what is read and what is not, attention by its formula, decoding against enumeration."""

import itertools
import math

import pytest
import torch

from bptrain.data.dataset import END, PAD
from bptrain.errors import RequestError
from bptrain.models.seq2seq import Seq2Seq
from bptrain.modules.attention import Additive, ScaledDotProduct

VOCABULARY, OUTPUTS, T, U = 6, 4, 5, 4
SOURCES = [[2, 5, 3], [4], [1, 1, 2, 3, 5]]
TARGETS = [[3, 2], [2, 2, 3], []]
VARIETIES = [
    {"cell": cell, "attention": attention}
    for cell in ("rnn", "gru", "lstm")
    for attention in ("none", "additive", "dot")
] + [{"layers": 3, "dropout": 0.4}, {"bidirectional": False, "layers": 2}, {"tied": True, "hidden": 6, "embedding": 6}]


def network(seed=0, outputs=OUTPUTS, steps=U, **settings):
    torch.manual_seed(seed)
    model = Seq2Seq(**{"hidden": 6, "embedding": 3} | settings).build((T + steps,), outputs, VOCABULARY, steps)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)  # far from uniform, so that choices differ
    model.head.bias.data[END] = -1
    return model.eval().double()


def rows(sources, targets, width=T, steps=U):
    """Sources and shifted targets side by side."""
    return torch.tensor(
        [
            [*source, *[PAD] * (width - len(source)), END, *target, *[PAD] * (steps - 1 - len(target))]
            for source, target in zip(sources, targets, strict=True)
        ]
    )


@pytest.mark.parametrize("settings", VARIETIES, ids=str)
def test_every_token_of_the_target_gets_a_score_for_each_token(settings):
    model = network(**settings).train()
    y = model(rows(SOURCES, TARGETS))
    assert y.shape == (3, U, OUTPUTS)
    y.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("settings", VARIETIES, ids=str)
def test_a_row_is_read_as_if_it_were_alone_and_had_no_padding(settings):
    model = network(**settings, beam=3, outputs=9)
    x = rows(SOURCES, TARGETS)
    together, written = model(x), model.predict(x)
    for i, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        alone = rows([source], [target], width=len(source))
        torch.testing.assert_close(model(alone)[0, : len(target) + 1], together[i, : len(target) + 1])
        assert torch.equal(model.predict(alone)[0], written[i])


@pytest.mark.parametrize("attention", ["none", "additive", "dot"])
def test_the_source_reaches_each_score(attention):
    model = network(attention=attention)
    x, other = rows(SOURCES[:1], TARGETS[:1]), rows([[2, 5, 4]], TARGETS[:1])
    assert (model(x) != model(other))[0, :3].any(-1).all()


def test_a_score_sees_the_targets_before_it_and_none_after():
    model = network()
    y = model(rows([SOURCES[0]], [[2, 2, 2]]))
    for place in range(3):
        target = [2, 2, 2]
        target[place] = 3
        changed = (model(rows([SOURCES[0]], [target])) != y)[0].any(-1)
        assert changed.tolist() == [t > place for t in range(U)]


@pytest.mark.parametrize("beam", [1, 3])
def test_predictions_do_not_look_at_the_target(beam):
    model = network(beam=beam, outputs=9)
    written = model.predict(rows(SOURCES, TARGETS))
    for targets in ([[]] * 3, [[3, 3, 3]] * 3):
        assert torch.equal(model.predict(rows(SOURCES, targets)), written)
    assert not torch.equal(model.predict(rows([*SOURCES[1:], SOURCES[0]], TARGETS)), written)


def enumerated(model, source, penalty):
    """The best of all targets that end in time, their log p by teacher forcing."""
    every = [list(y) for n in range(model.steps) for y in itertools.product(range(2, OUTPUTS), repeat=n)]
    logs = model(rows([source] * len(every), every, steps=model.steps)).log_softmax(-1).tolist()

    def score(row, y):
        return sum(row[t][token] for t, token in enumerate([*y, END])) / (len(y) + 1) ** penalty

    return max(zip(logs, every, strict=True), key=lambda pair: score(*pair))[1]


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_beam_as_wide_as_all_there_is_finds_the_best_of_all(cell, penalty):
    found = []
    for seed in range(12):
        model = network(seed, cell=cell, beam=24, length_penalty=penalty)
        written = model.predict(rows(SOURCES, TARGETS)).tolist()
        for row, source in zip(written, SOURCES, strict=True):
            best = enumerated(model, source, penalty)
            assert row == best + [PAD] * (U - len(best))
            found.append(len(best))
    assert len({*found}) > 1


def greedy(model, source):
    written = []
    while len(written) < model.steps - 1:
        scores = model(rows([source], [written], steps=model.steps))[0, len(written)]
        scores[PAD] = -math.inf
        token = scores.argmax().item()
        if token == END:
            break
        written.append(token)
    return written


def test_a_beam_of_one_is_greedy_and_may_miss_the_best():
    missed = 0
    for seed in range(12):
        model = network(seed)
        for row, source in zip(model.predict(rows(SOURCES, TARGETS)).tolist(), SOURCES, strict=True):
            expected = greedy(model, source)
            assert row == expected + [PAD] * (U - len(expected))
            missed += expected != enumerated(model, source, 1.0)
    assert missed


@pytest.mark.parametrize("kind", [Additive, ScaledDotProduct])
def test_attention_is_its_formula(kind):
    torch.manual_seed(0)
    attention = kind(3)
    queries, states = torch.randn(2, 4, 3), torch.randn(2, 5, 3)
    lengths = [5, 2]
    there = torch.arange(5) < torch.tensor(lengths)[:, None]
    context = attention(queries, attention.keys(states), states, there)
    W, U = attention.query.weight, attention.keys.weight
    for b, u in itertools.product(range(2), range(4)):
        scores = []
        for state in states[b, : lengths[b]]:
            if kind is Additive:
                hidden = torch.tanh(W @ queries[b, u] + attention.query.bias + U @ state)
                scores.append(attention.score.weight[0] @ hidden)
            else:
                scores.append((W @ queries[b, u]) @ (U @ state) / math.sqrt(3))
        weights = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
        torch.testing.assert_close(context[b, u], weights @ states[b, : lengths[b]])


def test_the_head_can_share_the_weights_of_the_embedding():
    model = Seq2Seq(hidden=6, embedding=6, tied=True).build((T + U,), OUTPUTS, VOCABULARY, U)
    assert model.head.weight is model.target.weight
    assert model.head.weight is not model.source.table.weight


def test_it_learns_to_write_backwards():
    torch.manual_seed(0)
    lengths = torch.randint(1, 5, (32,)).tolist()
    sources = [torch.randint(2, 5, (n,)).tolist() for n in lengths]
    x = rows(sources, [source[::-1] for source in sources], steps=5)
    targets = torch.cat([x[:, T + 1 :], torch.zeros(32, 1, dtype=torch.int64)], 1)
    targets[range(32), lengths] = END
    model = Seq2Seq(hidden=24, embedding=12).build((T + 5,), 5, VOCABULARY, 5)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    loss = torch.nn.CrossEntropyLoss(ignore_index=PAD)
    for _ in range(90):
        optimizer.zero_grad()
        loss(model(x).flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
    written = model.eval().predict(x)
    assert torch.equal(written, targets.where(targets != END, PAD))


REFUSED = [
    ({"hidden": 5}, "model.hidden: 5 two directions model.bidirectional=false"),
    ({"tied": True, "embedding": 3, "hidden": 6}, "model.tied: embedding of 3 6 units model.embedding=6"),
]


@pytest.mark.parametrize(("settings", "words"), REFUSED)
def test_settings_that_do_not_fit_each_other_are_refused(settings, words):
    with pytest.raises(RequestError) as error:
        Seq2Seq(**settings)
    assert all(word in str(error.value) for word in words.split())
