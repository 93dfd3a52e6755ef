"""A CSV file as a dataset."""

import contextlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bptrain.data.split import Split
from bptrain.data.table import CSV
from bptrain.errors import RequestError

ORDER = Split(0.2, 0.2, "order")
HEADER = "age,town,ill,y\n"
ROWS = [(3.5 * i % 7, "ABC"[i % 3], str(i % 2 == 0).lower(), i % 2) for i in range(15)]


def lines(rows, separator=","):
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(content, **settings):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "a.csv").write_bytes(data)
        return CSV(**{"path": "a.csv", "target": "y"} | settings)

    return write


def test_types_shapes_and_parts(write):
    loaded = write(HEADER + lines(ROWS)).load(0)
    assert (loaded.task, loaded.shape, loaded.outputs, loaded.classes) == ("classification", (6,), 2, ("0", "1"))
    assert {part: len(rows) for part, rows in loaded.parts.items()} == {"train": 10, "validation": 2, "test": 3}
    assert loaded.parts["train"].inputs.dtype == torch.float32
    assert loaded.parts["train"].targets.dtype == torch.int64


def test_same_seed_gives_the_same_bits_and_another_seed_another_split(write):
    source = write(HEADER + lines(ROWS))
    assert source.load(1).fingerprint == source.load(1).fingerprint != source.load(2).fingerprint


def test_numbers_are_standardized_with_training_statistics_and_categories_are_not(write):
    parts = write(HEADER + lines(ROWS), split=ORDER).load(0).parts
    ages = torch.tensor([row[0] for row in ROWS], dtype=torch.float64)
    expected = (ages - ages[:9].mean()) / ages[:9].std(correction=0)
    for part, rows in (("train", slice(0, 9)), ("validation", slice(9, 12)), ("test", slice(12, 15))):
        torch.testing.assert_close(parts[part].inputs[:, 0].double(), expected[rows], atol=1e-6, rtol=1e-6)
    assert parts["train"].inputs[:3, 1:].tolist() == [[1, 0, 0, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, 0, 1]]


def test_without_standardize_the_numbers_are_those_of_the_file(write):
    train = write(HEADER + lines(ROWS), split=ORDER, standardize=False).load(0).parts["train"]
    assert train.inputs[:, 0].tolist() == [row[0] for row in ROWS[:9]]


def test_a_category_that_is_not_in_training_is_all_zeros(write):
    rows = [(1, "red", 0), (2, "blue", 1), (3, "red", 0), (4, "blue", 1), (5, "green", 1)]
    loaded = write("x,color,y\n" + lines(rows), split=Split(0, 0.2, "order"), standardize=False).load(0)
    assert loaded.shape == (3,)
    assert loaded.parts["train"].inputs[:2].tolist() == [[1, 0, 1], [2, 1, 0]]
    assert loaded.parts["test"].inputs.tolist() == [[5, 0, 0]]


def test_codes_can_be_categories(write):
    rows = [(code, code % 2) for code in (10, 7, 10, 7, 8)]
    loaded = write("code,y\n" + lines(rows), categorical=("code",), split=Split(0, 0)).load(0)
    assert loaded.shape == (3,)
    assert loaded.parts["train"].inputs.sum(0).tolist() == [2, 2, 1]


def test_dropped_columns_are_no_features_and_may_hold_anything(write):
    rows = [(i, "" if i == 3 else f"name {i}", i % 2) for i in range(12)]
    assert write("x,id,y\n" + lines(rows), drop=("id",)).load(0).shape == (1,)


@pytest.mark.parametrize(
    ("values", "task", "expected"),
    [
        ("no yes no yes no yes".split(), None, ("no", "yes")),
        ("true false true false true false".split(), None, ("false", "true")),
        ([10, 9, 10, 9, 10, 2, 2], None, ("2", "9", "10")),
        ([-1, 1, 1, -1, 1, -1], None, ("-1", "1")),
        ([0.5, 1.5, 0.5, 1.5, 0.5, 1.5], "classification", ("0.5", "1.5")),
        (["1.0", "v1.0", "1.0", "v1.0", "v1.0"], "classification", ("1.0", "v1.0")),
        ([1.0, 2.0, 1.0, 2.0, 1.0, 2.0], None, ()),
        ([1, 2, 3, 4, 5, 6, 6], None, ()),
        ([*range(21), *range(21)], None, ()),
        ([0, 1, 0, 1, 0, 1], "regression", ()),
    ],
)
def test_the_task_is_seen_from_the_target(write, values, task, expected):
    rows = list(enumerate(values))
    loaded = write("x,y\n" + lines(rows), task=task, split=Split(0, 0, "order"), standardize_target=False).load(0)
    assert loaded.classes == expected
    assert loaded.task == ("classification" if expected else "regression")
    targets = loaded.parts["train"].targets
    if expected:
        assert [expected[i] for i in targets] == [str(value) for value in values]
    else:
        assert targets.dtype == torch.float32
        assert targets.tolist() == [[float(value)] for value in values]


def test_the_target_of_a_regression_is_scaled_with_training_statistics(write):
    y = torch.arange(10.0).square().double()
    loaded = write("x,y\n" + lines(enumerate(y.tolist())), split=ORDER).load(0)
    train = y[:6]
    assert loaded.target_scale == pytest.approx((train.std(correction=0).item(),))
    expected = (y - train.mean()) / train.std(correction=0)
    torch.testing.assert_close(loaded.parts["test"].targets[:, 0].double(), expected[8:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "separator"),
    [
        (HEADER + lines(ROWS), ","),
        ((HEADER + lines(ROWS)).replace("\n", "\r\n"), ","),
        ((HEADER + lines(ROWS)).replace("\n", "\r"), ","),
        ((HEADER + lines(ROWS)).replace("\n", "\n\n"), ","),
        ("\n" + HEADER + lines(ROWS).rstrip("\n"), ","),
        ((HEADER + lines(ROWS)).replace(",", " , "), ","),
        ((HEADER + lines(ROWS)).replace("A", '"A"'), ","),
        ((HEADER + lines(ROWS)).replace(",", ";"), ";"),
        ((HEADER + lines(ROWS)).replace(",", "\t"), "tab"),
    ],
)
def test_ways_to_write_the_same_table(write, content, separator):
    expected = write(HEADER + lines(ROWS)).load(0)
    assert write(content, separator=separator).load(0).fingerprint == expected.fingerprint


def test_the_mark_of_utf8_is_no_part_of_the_first_name(write):
    assert write("\ufeffy,x\n" + lines((row[3], row[0]) for row in ROWS)).load(0).classes == ("0", "1")


def test_quoted_values_may_hold_separators_quotes_and_line_ends(write):
    rows = [(i, ('"a, b"', '"say ""hi"""', '"two\nlines"')[i % 3], i % 2) for i in range(6)]
    assert write("x,word,y\n" + lines(rows), split=Split(0, 0)).load(0).shape == (4,)


@given(text=st.text(alphabet='xy1,"\n. ', max_size=30), number=st.integers(0, 3))
def test_no_text_ends_in_anything_but_data_or_a_request_error(text, number, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("x,y\n1,2\n" * number + text)
    with contextlib.suppress(RequestError):
        CSV(path=str(path), target="y").load(0)


def test_several_targets_of_0_and_1_are_labels(write):
    rows = [(i, i % 2, int(i > 4), 1) for i in range(20)]
    loaded = write("x,odd,large,always\n" + lines(rows), target=("odd", "large"), split=Split(0, 0.2, "order")).load(0)
    assert (loaded.task, loaded.shape, loaded.outputs, loaded.classes) == ("multilabel", (2,), 2, ("odd", "large"))
    assert loaded.parts["test"].targets.tolist() == [[i % 2, 1.0] for i in range(16, 20)]
    assert loaded.parts["test"].targets.dtype == torch.float32


def test_several_targets_of_other_numbers_are_a_regression_each_with_its_own_scale(write):
    rows = [(i, i % 2, 3 * i, -i) for i in range(20)]
    loaded = write("x,odd,three,minus\n" + lines(rows), target=("three", "minus"), split=Split(0, 0, "order")).load(0)
    assert (loaded.task, loaded.outputs, loaded.classes) == ("regression", 2, ())
    deviation = torch.arange(20.0).std(correction=0).item()
    assert loaded.target_scale == pytest.approx((3 * deviation, deviation))
    targets = loaded.parts["train"].targets
    torch.testing.assert_close(targets.std(0, correction=0), torch.ones(2))
    torch.testing.assert_close(targets[:, 0], -targets[:, 1])
    numbers = write("x,a,b\n" + lines([(1, 0, 1), (2, 1, 0), (3, 1, 1)]), target=("a", "b"), task="regression")
    assert numbers.load(0).task == "regression"
