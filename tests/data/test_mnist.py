"""MNIST from IDX files: what is read, and which files are refused before anything is read into memory."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from bptrain.data.idx import read_idx
from bptrain.data.mnist import MNIST
from bptrain.data.split import OwnTestSplit
from bptrain.errors import RequestError

ROWS = {"train": 40, "t10k": 7}


def idx(array, magic=None, shape=None):
    """The bytes of an IDX file, with what its head says."""
    shape = array.shape if shape is None else shape
    head = bytes([0, 0, 8, len(shape)]) if magic is None else magic
    return head + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


def images(part):
    return np.random.default_rng(ROWS[part]).integers(0, 256, (ROWS[part], 28, 28), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mnist").mkdir()
    for part, rows in ROWS.items():
        (tmp_path / f"mnist/{part}-images-idx3-ubyte").write_bytes(idx(images(part)))
        (tmp_path / f"mnist/{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(rows, dtype=np.uint8) % 10))
    return tmp_path


def test_pixels_go_from_0_to_1_and_the_test_part_is_its_own(folder):
    dataset = MNIST(str(folder), split=OwnTestSplit(0.25, by="order")).load(0)
    assert {name: len(part) for name, part in dataset.parts.items()} == {"train": 30, "validation": 10, "test": 7}
    assert dataset.shape == (1, 28, 28)
    assert dataset.outputs == 10
    expected = torch.from_numpy(images("t10k")[:, None] / 255).float()
    torch.testing.assert_close(dataset.parts["test"].inputs, expected)
    assert dataset.parts["validation"].targets.tolist() == [row % 10 for row in range(30, 40)]


def test_rows_are_the_first_of_the_training_file_and_leave_the_test_whole(folder):
    dataset = MNIST(str(folder), rows=20, split=OwnTestSplit(0, by="order")).load(0)
    assert len(dataset.parts["train"]) == 20
    assert len(dataset.parts["test"]) == 7
    torch.testing.assert_close(
        dataset.parts["train"].inputs[19, 0], torch.from_numpy(images("train")[19] / 255).float()
    )


def test_pixels_can_be_0_or_1(folder):
    dataset = MNIST(str(folder), binarize=0.5, split=OwnTestSplit(0, by="order")).load(0)
    assert torch.equal(dataset.parts["train"].inputs[:, 0], torch.from_numpy(images("train") > 127.5).float())


BYTES = np.zeros((3, 28, 28), np.uint8)
HOSTILE = [
    (b"", "is no IDX file"),
    (b"\x00\x00\x08\x03", "is no IDX file"),
    (idx(BYTES, magic=bytes([0, 0, 13, 3])), "is no IDX file of bytes"),
    (idx(BYTES, magic=bytes([31, 139, 8, 0])), "is no IDX file"),
    (idx(np.zeros(3, np.uint8)), "3 axes"),
    (idx(BYTES, shape=(3, 28, 27)), "3 examples of (28, 27), not of (28, 28)"),
    (idx(BYTES, shape=(3, 2**32 - 1, 2**32 - 1)), "not of (28, 28)"),
    (idx(BYTES[:0]), "0 examples"),
    (idx(BYTES, shape=(2**32 - 1, 28, 28)), "has 2368 bytes, and 4294967295 examples"),
    (idx(BYTES)[:-1], "has 2367 bytes"),
    (idx(BYTES) + b"\x00", "has 2369 bytes"),
]


@pytest.mark.parametrize(("content", "words"), HOSTILE, ids=[words for _, words in HOSTILE])
def test_a_file_that_is_not_what_it_says_is_refused(tmp_path, content, words):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(RequestError) as error:
        read_idx(path, (28, 28))
    assert str(error.value).startswith(str(path))
    assert words in str(error.value)
    assert "make data" in str(error.value)


@pytest.mark.parametrize(
    ("file", "content", "settings", "words"),
    [
        ("train-labels-idx1-ubyte", idx(np.zeros(39, np.uint8)), {}, "39 labels for 40 images"),
        ("t10k-labels-idx1-ubyte", idx(np.full(7, 10, np.uint8)), {}, "label 10"),
        ("t10k-images-idx3-ubyte", None, {}, "is not there make data"),
        ("train-labels-idx1-ubyte", idx(np.arange(40, dtype=np.uint8) % 10), {"rows": 41}, "data.rows 41 40 rows"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(folder, file, content, settings, words):
    path = folder / "mnist" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError) as error:
        MNIST(str(folder), **settings).load(0)
    assert all(word in str(error.value) for word in words.split())


def test_the_fetched_files_hold_what_was_published(fetched):
    fetched("mnist")
    labels = read_idx(Path("datasets/mnist/t10k-labels-idx1-ubyte"), ())
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert read_idx(Path("datasets/mnist/train-images-idx3-ubyte"), (28, 28)).mean() == pytest.approx(33.318, abs=0.001)
