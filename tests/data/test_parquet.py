"""A table in a Parquet file: the same bits as from a CSV file, kept as NPY files, and which files are refused."""

import os
import random
import resource
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import polars
import pytest
import torch

from bptrain.data.parquet import Parquet
from bptrain.data.rows import Rows
from bptrain.data.split import Split
from bptrain.data.table import CSV
from bptrain.errors import RequestError, RunFailed

RANDOM = np.random.default_rng(0)
ROWS = 67
TABLE = polars.DataFrame(
    {
        "x": RANDOM.normal(size=ROWS),
        "town": [" A", "B ", "C"][0:3] * 22 + ["D"],  # D is in no training part by order
        "short": RANDOM.integers(-9, 9, ROWS).astype("i1"),
        "flag": RANDOM.normal(size=ROWS) > 0,
        "code": RANDOM.integers(3, 6, ROWS),
        "id": [f"row {i}" for i in range(ROWS)],
        "single": RANDOM.normal(size=ROWS).astype("f4"),
        "few": RANDOM.integers(0, 3, ROWS),
        "truth": RANDOM.normal(size=ROWS) > 0,
        "word": RANDOM.choice(["yes", "no", "é"], ROWS),
        "number": RANDOM.normal(size=ROWS),
        "a": RANDOM.integers(0, 2, ROWS),
        "b": RANDOM.integers(0, 2, ROWS).astype("f8"),
    }
)
TARGETS = ("few", "truth", "word", "number", "a", "b")


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def saved(table=TABLE, target="few", **settings):
        table.write_parquet("a.parquet", row_group_size=13)
        drop = [name for name in ("id", "single", *TARGETS) if name in table.columns and name not in target]
        return Parquet(**{"path": "a.parquet", "target": target, "drop": tuple(drop)} | settings)

    return saved


def from_csv(source):
    """The same table through data=csv."""
    polars.read_parquet("a.parquet").write_csv("a.csv")
    names = ("target", "task", "drop", "categorical", "categories", "split", "standardize", "standardize_target")
    return CSV(path="a.csv", **{name: getattr(source, name) for name in names})


def same(found, expected):
    for name, part in expected.parts.items():
        assert torch.equal(found.parts[name].inputs[:], part.inputs[:])
        assert torch.equal(found.parts[name].targets, part.targets)
    told = ("task", "shape", "outputs", "classes", "target_scale")
    assert [getattr(found, name) for name in told] == [getattr(expected, name) for name in told]


OPTIONS = {
    "integers as classes": {},
    "integers as numbers": {"task": "regression"},
    "floats as classes": {"target": "b", "task": "classification"},
    "true and false": {"target": "truth"},
    "text": {"target": "word"},
    "numbers": {"target": "number"},
    "numbers as they are": {"target": "number", "standardize": False, "standardize_target": False},
    "labels": {"target": ("a", "b")},
    "several numbers": {"target": ("number", "a")},
    "codes": {"categorical": ("code", "short")},
    "a category of the test part alone": {"split": Split(0.1, 0.2, "order")},
    "that, as it is": {"split": Split(0.1, 0.2, "order"), "standardize": False},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_the_dataset_has_the_bits_of_the_same_table_in_a_csv_file(saved, option, monkeypatch):
    source = saved(**OPTIONS[option])
    monkeypatch.setattr("bptrain.data.parquet_file.NUMBERS", 100)  # so that it is read in many pieces
    found = source.load(3)
    assert isinstance(found.parts["train"].inputs, Rows)
    same(found, from_csv(source).load(3))
    same(Parquet(**vars(source) | {"in_memory": True}).load(3), found)


def test_a_column_of_float32_is_kept_as_it_is(saved):
    for columns, kind in (("single",), np.float32), (("single", "short", "town"), np.float32), (("x", "short"), float):
        source = saved(TABLE.select(*columns, "few"), drop=(), standardize=False)
        inputs = source.load(3).parts["train"].inputs
        assert inputs.file.dtype == kind
        assert inputs.file.all()[:, 0].tolist() == TABLE[columns[0]].to_list()


def cache(folder="datasets"):
    return {path.stat().st_ino for path in (tmp for tmp in os.scandir(f"{folder}/cache")) for path in os.scandir(path)}


def test_the_table_is_written_once_and_again_when_file_or_meaning_is_another(saved):
    source = saved()
    first = source.load(0)
    written = cache()
    assert len(written) == 3
    for other in (source, Parquet(**vars(source) | {"split": Split(0.3, 0.3)}), saved(workers=0)):
        os.utime("a.parquet", ns=(0, 0)) if other is not source else os.utime("a.parquet")
        other.load(1)
    assert source.load(0).fingerprint == first.fingerprint
    kept = cache()
    assert written < kept
    Parquet(**vars(source) | {"split": Split(0.3, 0.3), "workers": 0, "standardize": False}).load(2)
    assert cache() == kept
    Parquet(**vars(source) | {"categorical": ("code",)}).load(0)
    saved(TABLE.with_columns(polars.col("x") + 1)).load(0)
    assert len(cache()) == len(kept) + 6


def test_what_an_interrupted_writing_left_is_written_again(saved):
    source = saved()
    expected = source.load(0)
    (folder,) = os.scandir("datasets/cache")
    os.remove(f"{folder.path}/table.json")
    os.remove(f"{folder.path}/inputs.npy")
    for name in ("inputs.npy", ".inputs.npy.tmp"):
        Path(folder, name).write_bytes(b"a part")
    same(source.load(0), expected)


def test_who_comes_while_it_is_written_waits_and_finds_it(saved):
    source = saved()
    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(source.load, 0) for _ in range(4)]
        assert len({load.result().fingerprint for load in loads}) == 1


def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing_half(saved):
    source, limits = saved(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(RunFailed, match=r"inputs.npy: File too large. Nothing more can be written there"):
            source.load(0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (folder,) = os.scandir("datasets/cache")
    assert not os.listdir(folder)
    source.load(0)


@pytest.mark.parametrize("file", ["inputs.npy", "targets.npy", "table.json"])
def test_a_damaged_cache_is_named(saved, file):
    source = saved()
    source.load(0)
    (folder,) = os.scandir("datasets/cache")
    os.truncate(f"{folder.path}/{file}", 20)
    with pytest.raises(RequestError, match=f"{folder.name}: is damaged.*Delete it"):
        source.load(0)


def changed(name, row, value):
    column = TABLE[name].to_list()
    column[row] = value
    return TABLE.with_columns(polars.Series(name, column, dtype=TABLE[name].dtype))


REFUSED = {
    "a column that is not there": ({"target": "fw"}, ["data.target: a.parquet has no column 'fw'. Did you mean 'few'"]),
    "the target among the dropped": ({"drop": ("few",)}, ["data.drop: names the target 'few'"]),
    "an empty number": ({"table": changed("x", 40, None)}, ["a.parquet, row 41: column 'x' is empty", "drop=[x]"]),
    "an empty text": ({"table": changed("town", 66, "  ")}, ["a.parquet, row 67: column 'town' is empty"]),
    "a NaN": ({"table": changed("x", 0, np.nan)}, ["a.parquet, row 1: column 'x' is nan, no finite number"]),
    "an infinity": ({"table": changed("single", 30, -np.inf), "drop": ("id",)}, ["row 31: column 'single' is -inf"]),
    "an empty target": ({"table": changed("few", 5, None)}, ["row 6: column 'few' is empty. Correct it or remove"]),
    "too many texts": ({"drop": TARGETS[1:]}, ["column 'id' has more than 50 ", "drop=[id]", "data.categories"]),
    "text as numbers": ({"target": "word", "task": "regression"}, ["the target 'word' is text, no numbers"]),
    "a text among targets": ({"target": ("a", "word")}, ["the target 'word' is text, no numbers"]),
    "values that are no labels": ({"target": ("few", "a"), "task": "multilabel"}, ["'few' has values other than 0"]),
    "a class for each row": ({"target": "id", "drop": TARGETS}, ["'id' has 67 different values in 67 rows"]),
    "one class": ({"table": TABLE.with_columns(few=polars.lit(2))}, ["the target 'few' is 2 in every row"]),
    "a list": ({"table": TABLE.with_columns(l=polars.lit([1]))}, ["column 'l' is of type List", "drop=[l]"]),
    "a date": ({"table": TABLE.with_columns(l=polars.lit(date(2000, 1, 1)))}, ["column 'l' is of type Date"]),
    "bytes": ({"table": TABLE.with_columns(l=polars.lit(b"a"))}, ["column 'l' is of type Binary"]),
    "no rows": ({"table": TABLE[:0]}, ["a.parquet: has no rows"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_said_and_nothing_is_kept(saved, name):
    settings, words = REFUSED[name]
    source = saved(**{"categories": 50} | settings)
    with pytest.raises(RequestError) as error:
        source.load(0)
    for word in words:
        assert word in str(error.value)
    assert not list(os.scandir("datasets/cache") if os.path.exists("datasets/cache") else [])


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x,y\n1,2\n", b"PARE" + bytes(50) + b"PARE", b"PAR1" + bytes(50)])
def test_what_is_no_parquet_file_is_refused(saved, content, tmp_path):
    source = saved()
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(RequestError, match=r"a.parquet: (is no Parquet file|can't be read)"):
        source.load(0)


def test_a_file_that_unfolds_to_a_thousand_times_its_size_is_refused(saved):
    source = saved()
    table = polars.DataFrame({name: np.zeros(10**6, "i1") for name in ("x", "few")})
    table.write_parquet("a.parquet", row_group_size=10**6, data_page_size=2**28)
    with pytest.raises(RequestError, match=r"states 1000000 rows of 2 columns in .* more than 1000 values a byte"):
        source.load(0)


def test_a_path_is_no_pattern_and_no_address(saved, tmp_path):
    source = saved(TABLE[:40])
    os.rename("a.parquet", "[a].parquet")
    saved()
    assert len(Parquet(**vars(source) | {"path": "[a].parquet", "split": Split(0, 0)}).load(0).parts["train"]) == 40
    for path in ("*.parquet", "https://example.org/a.parquet", "s3://bucket/a.parquet"):
        with pytest.raises(RequestError, match="there is no such file"):
            Parquet(path=path, target="few").load(0)
    os.mkfifo(tmp_path / "b.parquet")
    with pytest.raises(RequestError, match="is no regular file"):
        Parquet(path="b.parquet", target="few").load(0)


def test_damaged_files_are_refused_in_one_message_or_read(saved, tmp_path):
    source = saved()
    whole, messages = (tmp_path / "a.parquet").read_bytes(), []
    for seed in range(60):
        draw = random.Random(seed)
        content = bytearray(whole)
        for _ in range(4):
            content[-1 - draw.randrange(9, 2000)] ^= 1 << draw.randrange(8)  # within the footer
        (tmp_path / "a.parquet").write_bytes(content[: draw.randrange(len(content))] if seed % 3 == 0 else content)
        try:
            source.load(0)
        except RequestError as error:
            messages.append(str(error))
    assert len(messages) > 30
    assert all(len(message) < 500 for message in messages)
