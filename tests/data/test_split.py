"""How rows are shared out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptrain.data.split import OwnTestSplit, Split, divide
from bptrain.errors import RequestError

LABELS = np.arange(97) % 3
CLASSES = ("a", "b", "c")


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[part], other[part]) for part in one)


@given(
    count=st.integers(3, 60),
    validation=st.floats(0, 0.45),
    test=st.floats(0, 0.45),
    by=st.sampled_from(["random", "order", "interleaved"]),
    seed=st.integers(0, 2**70),
)
def test_each_row_is_in_exactly_one_part(count, validation, test, by, seed):
    rows = divide(np.zeros(count), (), Split(validation, test, by), seed)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(count))
    for part, share in (("validation", validation), ("test", test)):
        assert (part in rows) == (share > 0)
        if share > 0:
            assert len(rows[part]) == pytest.approx(share * count, abs=1)


@pytest.mark.parametrize("by", ["random", "stratified", "order"])
def test_same_seed_gives_the_same_rows(by):
    assert same(divide(LABELS, CLASSES, Split(by=by), 5), divide(LABELS, CLASSES, Split(by=by), 5))


@pytest.mark.parametrize("by", ["random", "stratified"])
def test_another_seed_gives_other_rows(by):
    assert not same(divide(LABELS, CLASSES, Split(by=by), 5), divide(LABELS, CLASSES, Split(by=by), 6))


def test_parts_are_in_order_of_use():
    assert list(divide(LABELS, CLASSES, Split(), 0)) == ["train", "validation", "test"]


def test_interleaved_takes_rows_at_equal_distances_over_the_whole():
    rows = divide(np.zeros(20), (), Split(0.25, 0.1, "interleaved"), 0)
    assert rows["test"].tolist() == [0, 10]
    assert rows["validation"].tolist() == [1, 4, 8, 12, 16]
    assert sorted(np.concatenate(list(rows.values()))) == list(range(20))


def test_order_takes_the_first_rows_to_train_and_the_last_to_test():
    rows = divide(np.zeros(10), (), Split(0.2, 0.3, "order"), 0)
    assert {part: list(found) for part, found in rows.items()} == {
        "train": [0, 1, 2, 3, 4],
        "validation": [5, 6],
        "test": [7, 8, 9],
    }


def test_stratified_parts_have_equal_shares_of_each_class():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    rows = divide(labels, CLASSES, Split(0.2, 0.2, "stratified"), 1)
    assert [np.bincount(labels[rows[part]]).tolist() for part in rows] == [[36, 18, 6], [12, 6, 2], [12, 6, 2]]


def test_auto_is_stratified_for_classes_and_random_for_numbers():
    assert same(divide(LABELS, CLASSES, Split(), 2), divide(LABELS, CLASSES, Split(by="stratified"), 2))
    assert same(divide(LABELS, (), Split(), 2), divide(LABELS, (), Split(by="random"), 2))
    assert not same(divide(LABELS, CLASSES, Split(), 2), divide(LABELS, (), Split(), 2))


@pytest.mark.parametrize("by", ["random", "stratified", "order"])
def test_the_test_part_does_not_depend_on_the_share_of_validation(by):
    one, other = (divide(LABELS, CLASSES, Split(share, 0.2, by), 3) for share in (0.0, 0.3))
    assert np.array_equal(one["test"], other["test"])


def test_a_share_is_rounded_down_but_not_because_of_its_binary_form():
    assert 0.29 * 100 < 29
    assert {part: len(rows) for part, rows in divide(np.zeros(100), (), Split(0.29, 0.019), 0).items()} == {
        "train": 70,
        "validation": 29,
        "test": 1,
    }


def test_a_small_stratified_part_has_a_row_of_each_class():
    rows = divide(LABELS, CLASSES, Split(0.001, 0.001), 0)
    assert sorted(LABELS[rows["validation"]]) == sorted(LABELS[rows["test"]]) == [0, 1, 2]


def test_a_part_of_share_zero_is_absent():
    assert list(divide(LABELS, CLASSES, Split(0, 0), 0)) == ["train"]


def test_the_global_generator_is_neither_used_nor_moved():
    np.random.seed(0)
    before = divide(LABELS, CLASSES, Split(), 4)
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    assert same(before, divide(LABELS, CLASSES, Split(), 4))
    assert np.array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize(
    ("counts", "split", "words"),
    [
        (
            [9, 2, 9],
            Split(by="stratified"),
            ["'b' has only 2 rows for the 3 parts train, validation and test", "by=random"],
        ),
        (
            [9, 1, 1],
            Split(0, 0.2),
            ["'b' has only 1 row for", "'c' has only 1 row for the 2 parts train and test"],
        ),
        ([3, 20, 20], Split(0.25, 0.6), ["class 'a' has only 1 row", "2 parts train and validation", "by=random"]),
        ([4, 3, 3], Split(0, 0.8), ["2 rows for train", "3 classes"]),
        ([1, 1, 0], Split(0.2, 0.2), ["2 rows, 3 for test and 3 for validation: none is left to train on"]),
    ],
)
def test_a_split_that_can_not_be_made_is_explained(counts, split, words):
    with pytest.raises(RequestError) as caught:
        divide(np.repeat([0, 1, 2], counts), CLASSES, split, 0)
    for word in words:
        assert word in str(caught.value)


def test_numbers_can_not_be_stratified():
    with pytest.raises(RequestError, match=r"data.split.by: stratified needs classes.*random or order"):
        divide(np.zeros(20), (), Split(by="stratified"), 0)


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(RequestError, match=r"data.split: validation 0.5 and test 0.5.*less than 1"):
        Split(0.5, 0.5)


def test_a_share_of_test_is_refused_by_a_set_with_its_own_test_part():
    with pytest.raises(RequestError, match=r"data.split.test: is 0.2.*its own test part.*Write null"):
        OwnTestSplit(test=0.2)
