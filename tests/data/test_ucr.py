"""Files of the UCR archive as datasets."""

import pytest

from bptrain.data.split import OwnTestSplit
from bptrain.data.ucr import UCR
from bptrain.errors import RequestError

HEAD = "# a comment\n@problemName Tiny\n@classLabel true b a\n@DATA\n"
SERIES = "1,2,3.5:b\n-1,0,2:a\n\n1,1,1:a\n4,4,4:b\n"


@pytest.fixture
def load(tmp_path):
    def load(train=HEAD + SERIES, test=HEAD + "7,8,9:b\n", **settings):
        (tmp_path / "aeon").mkdir(exist_ok=True)
        (tmp_path / "aeon" / "Tiny_TRAIN.ts").write_bytes(train.encode("latin-1"))
        (tmp_path / "aeon" / "Tiny_TEST.ts").write_bytes(test.encode("latin-1"))
        return UCR(set="Tiny", folder=str(tmp_path), **{"split": OwnTestSplit(0), **settings}).load(0)

    return load


def test_series_are_signals_and_classes_are_sorted(load):
    loaded = load()
    assert (loaded.shape, loaded.classes, list(loaded.parts)) == ((1, 3), ("a", "b"), ["train", "test"])
    assert loaded.parts["train"].inputs[:, 0].tolist() == [[1, 2, 3.5], [-1, 0, 2], [1, 1, 1], [4, 4, 4]]
    assert loaded.parts["train"].targets.tolist() == [1, 0, 0, 1]
    assert loaded.parts["test"].inputs.tolist() == [[[7, 8, 9]]]
    assert loaded.parts["test"].targets.tolist() == [1]


def test_validation_comes_out_of_the_training_part(load):
    parts = load(split=OwnTestSplit(0.5)).parts
    assert sorted(parts["validation"].targets.tolist()) == [0, 1]
    assert [len(part) for part in parts.values()] == [2, 2, 1]


REFUSED = [
    ({"train": "1,2,3:a\n"}, "Tiny_TRAIN.ts: no line @data"),
    ({"train": HEAD}, "Tiny_TRAIN.ts: no series"),
    ({"train": HEAD + "1,2,3\n"}, "Tiny_TRAIN.ts:5: 0 colons"),
    ({"train": HEAD + "1,2:3,4:a\n"}, "Tiny_TRAIN.ts:5: 2 colons one variable"),
    ({"train": HEAD + "1,2,x:a\n"}, "Tiny_TRAIN.ts:5: 'x'"),
    ({"train": HEAD + "1,2,?:a\n"}, "Tiny_TRAIN.ts:5: '?'"),
    ({"train": HEAD + "1,nan,3:a\n"}, "Tiny_TRAIN.ts:5: missing finite"),
    ({"train": HEAD + "1,2,3:a\n1,2:a\n"}, "Tiny_TRAIN.ts:6: 2 numbers first series 3"),
    ({"train": HEAD + "1,2,3:\xe9\n"}, "Tiny_TRAIN.ts: UTF-8"),
    ({"test": HEAD + "1,2,3:c\n"}, "data.set=Tiny: test part c"),
    ({"test": HEAD + "1,2:a\n"}, "data.set=Tiny: length 3 2"),
]


@pytest.mark.parametrize(("files", "words"), REFUSED)
def test_a_wrong_file_is_refused_and_the_line_named(load, files, words):
    with pytest.raises(RequestError) as error:
        load(**files)
    assert all(word in str(error.value) for word in words.split()), str(error.value)


def test_a_set_that_is_not_there_says_how_to_get_it_and_a_path_is_no_name(tmp_path):
    with pytest.raises(RequestError, match="make data"):
        UCR(folder=str(tmp_path)).load(0)
    with pytest.raises(RequestError, match=r"data.set: '\.\./x' is no name"):
        UCR(set="../x")


@pytest.mark.parametrize(
    ("name", "train", "test", "length", "classes"),
    [("GunPoint", 50, 150, 150, 2), ("ItalyPowerDemand", 67, 1029, 24, 2), ("ArrowHead", 36, 175, 251, 3)],
)
def test_the_sets_of_the_archive_have_their_shapes(name, train, test, length, classes, fetched):
    fetched("aeon")
    loaded = UCR(set=name, split=OwnTestSplit(0)).load(0)
    assert [len(part) for part in loaded.parts.values()] == [train, test]
    assert (loaded.shape, len(loaded.classes)) == ((1, length), classes)
