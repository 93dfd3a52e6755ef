"""Files of data, with bytes or cells changed: each is read, or refused in one short message."""

import math

import numpy as np
import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptrain.data.npy import NPY
from bptrain.data.parquet import Parquet
from bptrain.data.series import Series
from bptrain.data.table import CSV
from bptrain.errors import RequestError

RANDOM = np.random.default_rng(0)
CELLS = [
    "", "1e999", "nan", "-inf", "9" * 400, "=cmd|' /C calc'!A0", "\u202e", "\u0661", "é", '"', '""', "a\nb", "1,5", " ",
    "0x10", "1_000", "x" * 150_000,
]  # fmt: skip


@st.composite
def cells(draw, text):
    """A CSV text with a cell, a row or a column changed."""
    rows = [line.split(",") for line in text.splitlines()]
    row, column = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(rows[0]) - 1))
    cell = draw(st.sampled_from(CELLS) | st.text(max_size=5))
    match draw(st.sampled_from(["cell", "cell", "row", "column", "short", "long", "same", "swapped"])):
        case "cell":
            rows[row][column] = cell
        case "row":
            rows[row] = [cell] * len(rows[row])
        case "column":
            rows[1:] = [[*of[:column], cell, *of[column + 1 :]] for of in rows[1:]]
        case "short":
            rows[row] = rows[row][:-1]
        case "long":
            rows[row] = [*rows[row], cell]
        case "same":
            rows[0][column] = rows[0][0]
        case _:
            rows[row] = rows[row][::-1]
    return "\n".join(map(",".join, rows)).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with a good file of each kind, and for each the source that reads it."""
    folder = tmp_path_factory.mktemp("files")
    columns = {"x": RANDOM.normal(size=40), "k": ["a", "b"] * 20, "n": RANDOM.integers(0, 9, 40)}
    table = polars.DataFrame(columns | {"y": RANDOM.integers(0, 3, 40)})
    table.write_csv(folder / "a.csv")
    table.write_csv(folder / "s.csv")
    table.write_parquet(folder / "a.parquet")
    np.save(folder / "x.npy", RANDOM.normal(size=(40, 3)))
    np.save(folder / "y.npy", RANDOM.integers(0, 3, 40))
    np.savez(folder / "a.npz", x=RANDOM.normal(size=(40, 3)))
    path = {file.name: str(file) for file in folder.iterdir()}
    (folder / "cache").mkdir()
    return {
        "a.csv": CSV(path=path["a.csv"], target="y"),
        "s.csv": Series(path=path["s.csv"], column="x", window=4),
        "a.parquet": Parquet(path=path["a.parquet"], target="y", folder=str(folder)),
        "x.npy": NPY(path=path["x.npy"], target=path["y.npy"]),
        "y.npy": NPY(path=path["x.npy"], target=path["y.npy"]),
        "a.npz": NPY(path=path["a.npz"], target=path["y.npy"]),
    } | {"folder": folder}


@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_a_mutated_file_of_data_is_read_or_refused_shortly(count, examples, in_time, short, mutated, kept):
    folder = kept["folder"]
    good = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    for name, source in kept.items():  # as they are, all but one are read
        if name not in ("folder", "a.npz"):
            source.load(0)
    names = st.sampled_from(sorted(good))
    files = names.flatmap(lambda name: st.tuples(st.just(name), mutated(good[name])))
    tables = st.sampled_from(["a.csv", "s.csv"]).flatmap(
        lambda name: st.tuples(st.just(name), cells(good[name].decode()))
    )

    @examples(count)
    @given(files | tables)
    def holds(case):
        name, content = case
        (folder / name).write_bytes(content)
        try:
            with in_time():
                dataset = kept[name].load(0)
            assert all(math.isfinite(part.inputs[:].abs().max()) for part in dataset.parts.values())
        except RequestError as error:
            short(str(error), content.decode(errors="replace") + str(folder))
        finally:
            (folder / name).write_bytes(good[name])

    holds()
