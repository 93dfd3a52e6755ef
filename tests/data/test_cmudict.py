"""The CMU dictionary: what is read of it, and how words become tokens in parts."""

import random

import numpy as np
import pytest
import torch

from bptrain.data.cmudict import CMUDict, read_pronunciations
from bptrain.data.dataset import END, PAD
from bptrain.data.split import Split
from bptrain.errors import RequestError

LINES = """
a AH0
a(2) EY1
a.m. EY2 EH1 M
abacus AE1 B AH0 K AH0 S
able EY1 B AH0 L # an adjective
all-time AO1 L T AY1 M
read R IY1 D
read(2) R EH1 D
read(3) R EH2 D
'tis T IH1 Z
"""
SPLIT = Split(validation=0.2, test=0.4)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cmudict").mkdir()
    (tmp_path / "cmudict" / "cmudict.dict").write_text(LINES)
    return str(tmp_path)


def words(dataset, part):
    """The word and the target of each row, spelled out."""
    steps = dataset.parts["train"].targets.shape[1]
    sources = dataset.parts[part].inputs[:, :-steps].tolist()
    return [
        (spell(row, dataset.vocabulary), spell(target, dataset.classes, " "))
        for row, target in zip(sources, dataset.parts[part].targets.tolist(), strict=True)
    ]


def spell(tokens, names, between=""):
    return between.join(names[token] for token in tokens if token != PAD)


def test_pronunciations_are_read_without_stress_and_comments(folder):
    assert read_pronunciations(CMUDict(folder).path) == {
        "a": [("AH",), ("EY",)],
        "a.m.": [("EY", "EH", "M")],
        "abacus": [("AE", "B", "AH", "K", "AH", "S")],
        "able": [("EY", "B", "AH", "L")],
        "all-time": [("AO", "L", "T", "AY", "M")],
        "read": [("R", "IY", "D"), ("R", "EH", "D")],
        "'tis": [("T", "IH", "Z")],
    }


def test_each_word_of_letters_is_in_one_part_with_the_first_of_its_pronunciations(folder):
    dataset = CMUDict(folder, split=SPLIT).load(0)
    parts = {part: words(dataset, part) for part in dataset.parts}
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 2, "validation": 1, "test": 2}
    assert sorted(row for rows in parts.values() for row in rows) == [
        ("'tis", "T IH Z <end>"),
        ("a", "AH <end>"),
        ("abacus", "AE B AH K AH S <end>"),
        ("able", "EY B AH L <end>"),
        ("read", "R IY D <end>"),
    ]


def test_a_decoder_is_given_the_target_shifted_by_one(folder):
    dataset = CMUDict(folder).load(0)
    for part in dataset.parts.values():
        T, U = dataset.shape[0] - part.targets.shape[1], part.targets.shape[1]
        assert (T, U) == (6, 7)
        for row, target in zip(part.inputs[:, T:].tolist(), part.targets.tolist(), strict=True):
            n = target.index(END)
            assert row == [END, *target[:n]] + [PAD] * (U - n - 1)
            assert target[n + 1 :] == [PAD] * (U - n - 1)


def test_all_pronunciations_are_right_in_the_parts_that_are_judged(folder):
    found = {}
    for seed in range(8):
        dataset = CMUDict(folder, split=SPLIT).load(seed)
        assert dataset.parts["train"].labels is None
        for part in ("validation", "test"):
            right = dataset.parts[part].labels
            assert right.shape[1] == 2
            torch.testing.assert_close(right[:, 0], dataset.parts[part].targets)
            for (word, _), said in zip(words(dataset, part), right.tolist(), strict=True):
                found[word] = {spell(each, dataset.classes, " ") for each in said}
    assert found["a"] == {"AH <end>", "EY <end>"}
    assert found["read"] == {"R IY D <end>", "R EH D <end>"}
    assert found["able"] == {"EY B AH L <end>"}


def test_words_are_drawn_by_the_seed_alone(folder):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    drawn = [CMUDict(folder, words=4).load(seed) for seed in (1, 1, 2, 3)]
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
    assert states[2] == random.getstate()
    assert drawn[0].fingerprint == drawn[1].fingerprint
    chosen = [frozenset(word for part in each.parts for word, _ in words(each, part)) for each in drawn]
    assert {len(each) for each in chosen} == {4}
    assert len({*chosen}) > 1


REFUSED = [
    ("", "has no word"),
    ("# only a remark\n", "has no word"),
    ("able EY1 B QQ1 L\n", ":1 QQ is no phoneme"),
    ("able EY1 B\nlie\n", ":2 needs a word and its phonemes"),
    (f"{'a' * 65} AH0\n", ":1 at most 64 letters"),
    (f"a {'AH0 ' * 65}\n", ":1 at most 64 phonemes"),
    (f"a {'Q' * 999}\n", ":1 is no phoneme"),
    (b"caf\xe9 K AH0\n", "UTF-8"),
    (b" " * (2**24 + 1), "larger than 16777216 bytes"),
]


@pytest.mark.parametrize(("content", "said"), REFUSED)
def test_a_file_that_is_not_the_dictionary_is_refused(tmp_path, content, said):
    path = tmp_path / "cmudict.dict"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RequestError) as error:
        read_pronunciations(path)
    assert len(str(error.value)) < 300 + len(str(path))
    assert all(word in str(error.value) for word in said.split())


def test_more_words_than_there_are_and_no_dictionary_are_refused(folder, tmp_path):
    with pytest.raises(RequestError, match=r"data.words: is 6, and .* has 5 words"):
        CMUDict(folder, words=6).load(0)
    with pytest.raises(RequestError, match="Run make data"):
        CMUDict(str(tmp_path / "elsewhere")).load(0)


def test_the_dictionary_has_as_many_words_as_are_told():
    try:
        pronunciations = read_pronunciations(CMUDict().path)
    except RequestError as error:
        pytest.skip(str(error))
    spelled = [word for word in pronunciations if set(word) <= set("'abcdefghijklmnopqrstuvwxyz")]
    assert len(pronunciations) == 126_052
    assert len(spelled) == 124_926
    assert len({phoneme for each in pronunciations.values() for said in each for phoneme in said}) == 39


def test_as_labels_a_word_has_those_phonemes_that_occur_in_it(folder):
    dataset = CMUDict(folder, task="multilabel", split=SPLIT).load(0)
    assert (dataset.task, dataset.outputs, dataset.shape) == ("multilabel", 39, (6,))
    found = {}
    for part in dataset.parts.values():
        assert part.targets.dtype == torch.float32
        for row, labels in zip(part.inputs.tolist(), part.targets.tolist(), strict=True):
            present = {name for name, label in zip(dataset.classes, labels, strict=True) if label}
            found[spell(row, dataset.vocabulary)] = present
    assert found["abacus"] == {"AE", "B", "AH", "K", "S"}
    assert found["read"] == {"R", "IY", "D"}
    assert len(found) == 5
