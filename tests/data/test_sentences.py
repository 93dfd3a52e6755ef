"""Sentences as tokens: what has a number of its own, and what a rare word goes by."""

from bptrain.data.dataset import IGNORED, PAD
from bptrain.data.sentences import PADDING, UNKNOWN, Vocabulary, padded

SENTENCES = [["the", "cat", "sat"], ["the", "dog", "sat", "here"], ["the", "cat"]]


def ending(word):
    yield f"*{word[-2:]}"
    yield f"*{word[-1:]}"


def test_frequent_words_come_first_and_rare_ones_have_no_token():
    vocabulary = Vocabulary(SENTENCES, 2)
    assert vocabulary.words == (PADDING, UNKNOWN, "the", "cat", "sat")
    assert vocabulary.words[PAD] == PADDING
    assert [vocabulary.token(word) for word in ("the", "sat", "here", "dog")] == [2, 4, 1, 1]


def test_sequences_end_at_padding():
    assert Vocabulary(SENTENCES, 2).tokens([["cat", "here"], ["the"]], 3).tolist() == [[3, 1, 0], [2, 0, 0]]
    assert padded([[4], []], 2, IGNORED).tolist() == [[4, IGNORED], [IGNORED, IGNORED]]


def test_a_rare_word_goes_by_the_first_sign_that_is_frequent_among_rare_ones():
    words = ["running", "singing", "sang", "dog", "bag", "barn", "barn", "barn"]
    vocabulary = Vocabulary([words], 3, ending)
    assert vocabulary.words == (PADDING, UNKNOWN, "*ng", "barn", "*g")
    tokens = [vocabulary.token(word) for word in ("running", "sang", "unseeing", "leg", "born", "barn")]
    assert tokens == [2, 2, 2, 4, 1, 3]


def test_a_sign_that_no_word_of_the_training_part_goes_by_has_no_token():
    vocabulary = Vocabulary([["running", "singing", "sang"]], 3, ending)
    assert vocabulary.words == (PADDING, UNKNOWN, "*ng")  # and not *g
    assert vocabulary.token("dog") == 1


def test_every_word_has_a_token_where_once_is_enough():
    assert len(Vocabulary(SENTENCES, 1).words) == 2 + 5
