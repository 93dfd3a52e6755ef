"""NPY files as a dataset whose inputs stay on the disk: the same bits as in memory, and which files are refused."""

import io
import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

from bptrain.config.compose import compose, settings_of
from bptrain.data.assemble import assemble, standardized
from bptrain.data.npy import NPY
from bptrain.data.npy_file import NPYFile
from bptrain.data.rows import Rows
from bptrain.data.split import Split, divide
from bptrain.errors import RequestError, RunFailed
from bptrain.train.run import build

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 90, (61, 5)).astype(float)
CLASSES = RANDOM.integers(-1, 2, 61)  # -1, 0 and 1
NUMBERS = RANDOM.normal(size=(61, 2))


@pytest.fixture
def saved(tmp_path):
    def saved(x, y, **settings):
        for name, value in (("x", x), ("y", y)):
            if isinstance(value, bytes):
                (tmp_path / f"{name}.npy").write_bytes(value)
            else:
                np.save(tmp_path / f"{name}.npy", value)
        return NPY(**{"path": str(tmp_path / "x.npy"), "target": str(tmp_path / "y.npy")} | settings)

    return saved


def in_memory(x, y, classes, standardize):
    """What sources that fit into memory make of the same arrays."""
    rows = divide(y, classes, Split(), 3)
    inputs = {part: x.astype(float)[chosen] for part, chosen in rows.items()}
    inputs = standardized(inputs)[0] if standardize else inputs
    return assemble("a", inputs, {part: y[chosen] for part, chosen in rows.items()}, classes, not classes)


def same(dataset, expected):
    assert dataset.parts.keys() == expected.parts.keys()
    for name, part in expected.parts.items():
        found = dataset.parts[name]
        assert found.inputs.shape == part.inputs.shape
        assert torch.equal(found.inputs[:], part.inputs)
        assert torch.equal(found.targets, part.targets)
        batch = torch.tensor([4, 0, 3, 3])
        assert torch.equal(found.inputs.index_select(0, batch), part.inputs[batch])
        assert torch.equal(torch.cat(list(found.inputs.split(7))), part.inputs)
    assert dataset.target_scale == expected.target_scale


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "uint8", "int16", "uint32", "int64", "bool"])
def test_inputs_and_classes_are_those_of_the_same_arrays_in_memory(saved, kind, standardize):
    x = X.astype(kind)
    dataset = saved(x, CLASSES, standardize=standardize).load(3)
    assert isinstance(dataset.parts["train"].inputs, Rows)
    same(dataset, in_memory(x, CLASSES + 1, ("-1", "0", "1"), standardize))
    assert (dataset.task, dataset.classes, dataset.shape) == ("classification", ("-1", "0", "1"), (5,))


def test_the_channels_of_images_are_standardized(saved):
    x = RANDOM.integers(0, 256, (61, 3, 4, 2), dtype=np.uint8)
    same(saved(x, CLASSES).load(3), in_memory(x, CLASSES + 1, ("-1", "0", "1"), True))


@pytest.mark.parametrize("y", [NUMBERS, NUMBERS[:, 0], NUMBERS.astype("f4")])
def test_floats_are_a_regression(saved, y):
    dataset = saved(X, y).load(3)
    assert (dataset.task, dataset.classes) == ("regression", ())
    same(dataset, in_memory(X, y.astype(float), (), True))


def test_many_blocks_give_the_mean_and_deviation_of_one(saved, monkeypatch):
    source = saved(X + RANDOM.normal(size=X.shape), CLASSES)
    whole = source.load(3).parts["train"].inputs
    monkeypatch.setattr("bptrain.data.npy_file.NUMBERS", 7 * 5)
    assert [first for first, _ in NPYFile(source.path).blocks()] == list(range(0, 61, 7))
    parts = source.load(3).parts["train"].inputs
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(parts.deviation, whole.deviation, rtol=1e-14)
    with pytest.raises(RequestError, match=r"x.npy\[60, 4\]: is nan"):
        saved(np.where(np.arange(305).reshape(61, 5) == 304, np.nan, X), CLASSES).load(3)


def test_all_can_be_read_into_memory_at_the_start(saved):
    there, here = (saved(X, CLASSES, in_memory=flag).load(3) for flag in (False, True))
    assert isinstance(here.parts["train"].inputs, torch.Tensor)
    same(there, here)
    assert here.fingerprint == there.fingerprint


def test_the_fingerprint_is_that_of_values_rows_and_scaling(saved):
    def of(x=X, y=CLASSES, seed=3, standardize=True):
        return saved(x, y, standardize=standardize).load(seed).fingerprint

    changed = X.copy()
    changed[7, 2] += 1
    assert of() == of()
    assert len({of(), of(changed), of(X.astype("f4")), of(X[:, ::-1].copy()), of(seed=4), of(standardize=False)}) == 6
    assert of(y=-CLASSES) != of()


def test_a_large_file_is_known_by_samples_of_it(saved, monkeypatch):
    digests = set()
    monkeypatch.setattr("bptrain.data.npy_file.WHOLE", 1000)
    monkeypatch.setattr("bptrain.data.npy_file.BLOCK", 10)
    monkeypatch.setattr("bptrain.data.npy_file.SAMPLES", 8)
    for place in (None, (0, 0), (60, 4)):
        x = X.astype("f4")
        if place:
            x[place] += 1
        digests.add(NPYFile(saved(x, CLASSES).path).digest)
    assert len(digests) == 3


def header(text, version=1, length=None):
    text = text.encode() if isinstance(text, str) else text
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text


def stated(shape, kind="'<f8'", fortran=False):
    return header(f"{{'descr': {kind}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n") + X.tobytes()


class Canary:
    def __reduce__(self):
        return (os.mkdir, ("canary",))


def npy(x):
    """The bytes that numpy.save writes."""
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


HOSTILE = {
    "empty": (b"", "no NPY file"),
    "text": (b"x,y\n1,2\n", "no NPY file"),
    "a pickle": (pickle.dumps(Canary()), "is a pickle"),
    "an archive": (b"PK\x03\x04" + bytes(100), "is an archive, such as NPZ"),
    "an unknown version": (b"\x93NUMPY\x09\x00" + bytes(100), "no NPY file"),
    "pickled objects": (npy(np.array([Canary()] * 61)), "Python objects, which are never read"),
    "objects among numbers": (npy(np.zeros(61, [("a", "f8"), ("b", "O")])), "Python objects"),
    "texts": (npy(np.array(["a"] * 61)), "values of type <U1"),
    "records": (npy(np.zeros(61, [("a", "f8")])), "values of type"),
    "dates": (npy(np.zeros((61, 2), "M8[s]")), "values of type"),
    "complex numbers": (npy(X.astype(complex)), "values of type complex128"),
    "long doubles": (stated((61, 2), "'<f16'"), "values of type"),
    "the other byte order": (npy(X.astype(">f8")), "bytes in the other order"),
    "Fortran order": (npy(np.asfortranarray(X)), "Fortran order"),
    "more rows than there are": (stated((2**40, 5)), f"states {(2**40, 5)} of float64, which make"),
    "a product that overflows": (stated((2**62, 2**62)), "which make"),
    "fewer rows than there are": (stated((60, 5)), "has 2"),
    "a negative shape": (stated((-61, -5)), "no rows of numbers"),
    "no rows": (npy(X[:0]), "no rows of numbers"),
    "no columns": (npy(X[:, :0]), "no rows of numbers"),
    "too many axes": (stated((61, *[1] * 99)), "has 100 axes"),
    "a scalar": (npy(np.float64(3)), "no rows of numbers"),
    "a header without an end": (header("{'descr': '<f8'", 2, 2**32 - 1), "no NPY file"),
    "a header of brackets": (header("(" * 9000), "no NPY file"),
    "a header of signs": (header("-" * 9000 + "1"), "no NPY file"),
    "a header that calls": (header("__import__('os').mkdir('canary')\n"), "no NPY file"),
    "a header of no dictionary": (header("[1, 2, 3]\n"), "no NPY file"),
    "a shape of floats": (stated("(61.0, 5)"), "no NPY file"),
    "a type of nonsense": (stated((61, 5), "'<q9'"), "no NPY file"),
    "a cut file": (npy(X)[:-1], "has 2567 bytes, and its header states (61, 5) of float64, which make 2568"),
    "a longer file": (npy(X) + b"\0", "which make 2568"),
    "one axis": (npy(X[:, 0]), "has the shape (61,), and inputs are (N, ...)"),
    "other rows": (npy(X[:60]), "has 61 rows, and"),
    "a NaN": (npy(np.where(X[9, 3] == X, np.nan, X)), "no finite number"),
    "an infinity": (npy(np.where(X[9, 3] == X, np.inf, X).astype("f4")), "is inf, no finite number"),
    "a number above float32": (npy(X + 1e39 * (np.arange(61) == 60)[:, None]), "x.npy[60, 0]: is 1e+39, no finite"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_inputs_that_lie_or_are_none_are_refused(saved, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, words = HOSTILE[name]
    with pytest.raises(RequestError) as error:
        saved(content, CLASSES).load(0)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "canary").exists()


TARGETS = {
    "one class": (CLASSES * 0, "is 0 in every row"),
    "one number": (np.zeros(61), "is 0 in every row"),
    "a class for each row": (np.arange(61), "has 61 different values in 61 rows: these are no classes. Save a regress"),
    "several classes a row": (np.stack([CLASSES, CLASSES], 1), "has the shape (61, 2) of int64"),
    "a window of numbers": (NUMBERS[:, :, None], "has the shape (61, 2, 1) of float64"),
    "a NaN": (NUMBERS[:, 0] * np.where(np.arange(61) == 5, np.nan, 1), "y.npy[5]: is nan, no finite number"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_wrong_targets_are_refused(saved, name):
    y, words = TARGETS[name]
    with pytest.raises(RequestError) as error:
        saved(X, y).load(0)
    assert words in str(error.value)


def test_a_pipe_and_a_folder_are_refused_and_a_name_is_corrected(saved, tmp_path):
    source = saved(X, CLASSES)
    os.mkfifo(tmp_path / "pipe.npy")
    for path, words in (("pipe.npy", "no regular file"), (".", "can't be read"), ("xx.npy", "Did you mean 'x.npy'?")):
        with pytest.raises(RequestError, match=words):
            NPY(path=str(tmp_path / path), target=source.target).load(0)


def test_a_file_that_is_cut_short_later_fails_with_its_name(saved):
    source = saved(X, CLASSES)
    rows = source.load(0).parts["train"].inputs
    os.truncate(source.path, 1000)
    with pytest.raises(RunFailed, match=r"x.npy: ends at byte \d+ now: it was cut short"):
        rows[:]


def test_what_needs_all_rows_at_once_says_how_to_have_them(saved):
    rows = saved(X, CLASSES).load(0).parts["train"].inputs
    with pytest.raises(RequestError, match="cat needs all rows at once"):
        torch.cat([rows, rows])


def test_models_that_learn_their_inputs_say_so(saved):
    source = saved(X, CLASSES)
    words = ["data=npy", f"data.path={source.path}", f"data.target={source.target}", "loss=mse", "model=autoencoder"]
    with pytest.raises(RequestError, match="as their own targets all inputs are needed at once"):
        build(settings_of(compose(words)))
    build(settings_of(compose([*words, "data.in_memory=true"])))


MEMORY = """
import resource, sys
import numpy as np, torch
from bptrain.config.compose import compose, settings_of
from bptrain.train.fit import fit
from bptrain.train.run import build
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB
words = ["data=npy", "data.target=y.npy", "model.sizes=[1]", "fit.epochs=1", "fit.batch_size=4", "check.enabled=false"]
def run(path): return list(fit(build(settings_of(compose([*words, f"data.path={path}"])))))
np.save("small.npy", np.zeros((500, 10), np.float32))
run("small.npy")
before = peak()
run("large.npy")
print(peak() - before)
"""


def test_memory_is_bounded_whatever_the_size_of_the_file(tmp_path):
    np.save(tmp_path / "y.npy", np.arange(500) % 3)
    with open(tmp_path / "large.npy", "wb") as file:
        head = {"descr": "<f4", "fortran_order": False, "shape": (500, 100_000)}
        np.lib.format.write_array_header_1_0(file, head)
        file.truncate(file.tell() + 200_000_000)
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, cwd=tmp_path, check=True)
    print(done.stdout)
    assert float(done.stdout) < 160
