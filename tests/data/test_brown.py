"""The Brown corpus: how its files are read, how sentences are shared out and cut, and what rare words go by."""

from pathlib import Path

import pytest

from bptrain.data.brown import Brown, base_tag, signs
from bptrain.data.dataset import IGNORED, PAD
from bptrain.data.split import Split
from bptrain.errors import RequestError

FICTION = ("science_fiction",)
LINE = "The/at cat/nn sat/vbd {}/np-tl ./."


@pytest.fixture
def folder(tmp_path):
    """Six files of science fiction, of two sentences each, which differ in one word."""
    (tmp_path / "brown").mkdir()
    for number in range(1, 7):
        lines = [LINE.format(f"Rob{number}ing"), "", "\t" + LINE.format("1/2")]
        (tmp_path / "brown" / f"cm{number:02}").write_text("\n\n".join(lines))
    return str(tmp_path)


def brown(folder, **settings):
    return Brown(FICTION, folder=folder, **({"split": Split(0.25, 0.25, "order")} | settings))


def test_sentences_are_lines_of_words_with_their_tags(folder):
    sentences = brown(folder, tags="full").sentences()
    assert len(sentences) == 12
    assert sentences[1] == [("The", "at"), ("cat", "nn"), ("sat", "vbd"), ("1/2", "np-tl"), (".", ".")]


def test_base_tags_leave_out_where_a_word_stands():
    tags = "np-tl in+at-tl at-tl-hl fw-nn$-nc .-hl --- ' nn bez*".split()
    assert list(map(base_tag, tags)) == "np in+at at nn$ . --- ' nn bez*".split()


def test_a_dataset_has_a_tag_for_each_token_and_none_after_the_end(folder):
    data = brown(folder).load(0)
    assert (data.task, data.shape, data.classes) == ("tagging", (5,), (".", "at", "nn", "np", "vbd"))
    assert [len(part) for part in data.parts.values()] == [6, 3, 3]
    part = data.parts["train"]
    assert part.targets[0].tolist() == [1, 2, 4, 3, 0]
    assert [data.vocabulary[token] for token in part.inputs[1]] == ["The", "cat", "sat", "1/2", "."]


def test_long_sentences_are_cut_so_that_no_word_is_lost(folder):
    data = brown(folder, length=3).load(0)
    part = data.parts["train"]
    assert part.inputs.shape == (12, 3)
    assert (part.targets[1::2, 2] == IGNORED).all()
    assert (part.inputs[1::2, 2] == PAD).all()
    assert part.targets[:2].tolist() == [[1, 2, 4], [3, 0, IGNORED]]


def test_rare_words_go_by_their_endings_or_are_all_one(folder):
    words = {}
    for unknown in ("endings", "one"):
        data = brown(folder, unknown=unknown, min_count=3).load(0)
        words[unknown] = data.vocabulary[data.parts["test"].inputs[1, 3]]
    assert words == {"endings": "<0A *ing>", "one": "<unknown>"}


def test_the_signs_of_a_word_go_from_the_closest_likeness_on():
    assert [*signs("Re-Do")] == ["<A- *e-do>", "<A- *-do>", "<A- *do>", "<A- *o>", "<A->"]
    assert [*signs("7")] == ["<0>"]


def test_interleaved_parts_take_every_so_manieth_sentence(folder):
    data = brown(folder, split=Split(0, 0.5, "interleaved"), min_count=1).load(0)
    numbered = data.parts["test"].inputs[:, 3]
    assert [data.vocabulary[token] for token in numbered] == [
        "<unknown>"
    ] * 6  # the first of two, none seen in training
    assert len(data.parts["train"]) == 6


REFUSED = [
    ({"categories": ("sport", "humour")}, "data.categories: sport humour Did you mean 'humor'"),
    ({"categories": ()}, "data.categories: null"),
    ({"split": Split(by="stratified")}, "data.split.by: stratified interleaved"),
]


@pytest.mark.parametrize(("settings", "words"), REFUSED)
def test_settings_that_fit_nothing_are_refused(settings, words):
    with pytest.raises(RequestError) as error:
        Brown(**settings)
    assert all(word in str(error.value) for word in words.split())


@pytest.mark.parametrize(("content", "words"), [(b"The/at cat", "cm02:1"), (b"/at", "word/tag"), (b"\xff/at", "UTF-8")])
def test_a_file_of_another_kind_is_named(folder, content, words):
    Path(folder, "brown", "cm02").write_bytes(content)
    with pytest.raises(RequestError, match=words):
        brown(folder).load(0)


def test_a_file_that_is_not_there_is_told(folder):
    Path(folder, "brown", "cm03").unlink()
    with pytest.raises(RequestError, match=r"cm03: is not there.* make data"):
        brown(folder).load(0)


def test_the_news_are_as_published(fetched):
    fetched("brown")
    sentences = Brown(("news",), "full").sentences()
    assert len(sentences) == 4623
    assert sum(map(len, sentences)) == 100554
    assert len({tag for sentence in sentences for _, tag in sentence}) == 218
