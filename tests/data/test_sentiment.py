"""The sentences of movie reviews: how they are read, and how they become tokens."""

from pathlib import Path

import numpy as np
import pytest

from bptrain.data.sentiment import Sentiment, read_sentiment, tokenized
from bptrain.data.split import Split
from bptrain.errors import RequestError

LINES = [
    "1\t2.25\tIt's good, VERY good.",
    "2\t-0.5\tbad",
    "3\t0.0\tneither",
    "4\t-3\tso bad\tit hurts",
    "5\t1\tgood enough",
    "6\t-1\tvery bad",
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vader").mkdir()
    (tmp_path / "vader" / "movieReviewSnippets_GroundTruth.txt").write_text("\r\n".join(LINES), encoding="utf-8")
    return str(tmp_path)


def test_tokens_are_words_in_lower_case_and_signs_one_by_one():
    assert tokenized("It's GOOD, isn't it? ''So-so'' 10!") == [
        "it's", "good", ",", "isn't", "it", "?", "'", "'", "so", "-", "so", "'", "'", "10", "!"
    ]  # fmt: skip


def test_the_class_is_the_sign_and_a_rating_of_0_has_none(folder):
    texts, targets = read_sentiment(Path(folder, "vader", "movieReviewSnippets_GroundTruth.txt"))
    assert targets.tolist() == [1, 0, 0, 1, 0]
    assert texts[2] == "so bad\tit hurts"


def test_the_vocabulary_is_that_of_the_training_part(folder):
    data = Sentiment(folder=folder, min_count=1, split=Split(0, 0.4, "order")).load(0)
    assert data.shape == (6,)  # it's good , very good .
    assert {*data.vocabulary[2:]} == {"it's", "good", ",", "very", ".", "bad", "so", "it", "hurts"}
    assert data.parts["test"].inputs[:, :2].tolist() == [
        [data.vocabulary.index("good"), 1],
        [data.vocabulary.index("very"), data.vocabulary.index("bad")],
    ]
    assert data.parts["train"].targets.tolist() == [1, 0, 0]
    assert (data.task, data.outputs, data.classes) == ("classification", 2, ("negative", "positive"))


def test_long_sentences_are_cut_where_that_is_asked_for(folder):
    data = Sentiment(folder=folder, min_count=1, length=2, split=Split(0, 0.4, "order")).load(0)
    assert data.shape == (2,)
    assert "hurts" not in data.vocabulary


@pytest.mark.parametrize(
    ("line", "words"),
    [("7\tgood\t3", ":7"), ("7\tnan\tgood", ":7"), ("7", "tabs"), ("7\t1\t  ", "make data"), ("7\t1e999\tx", ":7")],
)
def test_a_line_of_another_kind_is_named(folder, line, words):
    path = Path(folder, "vader", "movieReviewSnippets_GroundTruth.txt")
    path.write_text("\n".join([*LINES, line]))
    with pytest.raises(RequestError, match=words):
        Sentiment(folder=folder).load(0)


def test_what_is_no_text_or_not_there_is_told(folder, tmp_path):
    Path(folder, "vader", "movieReviewSnippets_GroundTruth.txt").write_bytes(b"1\t2\t\xff\xfe")
    with pytest.raises(RequestError, match="UTF-8"):
        Sentiment(folder=folder).load(0)
    with pytest.raises(RequestError, match="make data"):
        Sentiment(folder=str(tmp_path / "nowhere")).load(0)


def test_the_set_is_the_one_that_was_published(fetched):
    fetched("vader")
    texts, targets = read_sentiment(Path("datasets/vader/movieReviewSnippets_GroundTruth.txt"))
    assert len(texts) == 10605 - 37
    assert np.bincount(targets).tolist() == [5326, 5242]
