"""Headers that lie: they are held against the size of a file."""

import io
import os
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import polars
import pytest

from bptrain.config.compose import compose, settings_of
from bptrain.sweep import job  # noqa: F401 - not while memory is traced

HUGE = 10**18
X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.arange(40) % 2


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def stated(text, version=1, length=None, body=bytes(960)):
    head = text.encode().ljust(117) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(head) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + head + body


def shape(value, kind="'<f8'", order=False, **more):
    return stated(f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {value}, }}", **more)


NPY = {
    "a shape of 10^18 rows": shape((HUGE, 3)),
    "a shape whose product overflows 64 bits": shape((2**32, 2**32)),
    "a shape of 2^63 rows": shape((2**63, 1)),
    "a negative shape": shape((-40, -3)),
    "one row too many": shape((41, 3)),
    "one row too few": shape((39, 3)),
    "a shape of 99 axes": shape((40, 3, *[1] * 25)).replace(b"1)", b"1,)"),
    "no axis": shape(()),
    "true for a length": shape((True, 120)),
    "Fortran order": shape((40, 3), order=True),
    "a header of 4 GB": shape((40, 3), version=2, length=2**32 - 1),
    "a header of no bytes": shape((40, 3), length=0),
    "version 3": b"\x93NUMPY\3" + shape((40, 3))[7:],
    "structured values": shape((40,), "[('a', '<f8', (3,))]"),
    "a structured value of 10^18 bytes": shape((40,), f"[('a', '<f8', ({HUGE},))]"),
    "objects": shape((40, 3), "'|O'"),
    "texts of 1 GB each": shape((40, 3), "'<U268435456'"),
    "void of 10^9 bytes": shape((40, 3), "'|V1000000000'"),
    "a type that is no text": shape((40, 3), "(" * 40 + ")" * 40),
    "half of the file": npy(X)[: len(npy(X)) // 2],
    "the magic alone": b"\x93NUMPY",
}


def idx(magic, *lengths, body=bytes(40 * 784)):
    return bytes(magic) + struct.pack(f">{len(lengths)}I", *lengths) + body


IDX = {
    "2^32 - 1 images": idx([0, 0, 8, 3], 2**32 - 1, 28, 28),
    "images of 2^32 - 1 pixels": idx([0, 0, 8, 3], 40, 2**32 - 1, 2**32 - 1),
    "no images": idx([0, 0, 8, 3], 0, 28, 28, body=b""),
    "255 axes": idx([0, 0, 8, 255], 40, 28, 28),
    "doubles": idx([0, 0, 14, 3], 40, 28, 28),
    "one image too many": idx([0, 0, 8, 3], 41, 28, 28),
    "half a header": idx([0, 0, 8, 3], 40)[:6],
}

CSV = {
    "a value that does not end": b'x,y\n1,"' + b"a" * 200_000,
    "a value of 200,000 characters": b"x,y\n1,a\n" + b"7" * 200_000 + b",b\n",
    "100,001 columns": b",".join(b"c%d" % i for i in range(100_001)) + b"\n",
    "100,001 columns of one name": b"c," * 100_000 + b"c\n",
    "a byte 0": b"x,y\n1,\0\n",
    "nothing but bytes 0": bytes(4096),
    "rows of another length": b"x,y\n1,a\n" + b"1," * 1000 + b"\n",
}


def thrift(parts):
    footer = b"".join(parts)
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def parquet(rows=40, table=None, **options):
    buffer = io.BytesIO()
    (polars.DataFrame({"x": range(rows), "y": [0, 1] * (rows // 2)}) if table is None else table).write_parquet(
        buffer, **options
    )
    return buffer.getvalue()


def with_footer_length(length):
    content = parquet()
    return content[:-8] + struct.pack("<I", length) + b"PAR1"


PARQUET = {
    "a footer of 4 GB": with_footer_length(2**32 - 1),
    "no footer": with_footer_length(0),
    "a footer of zeros": thrift([bytes(400)]),
    "a footer of nested lists": thrift([b"\x29" + b"\x19" * 4000]),
    "a footer of ones": thrift([b"\xff" * 400]),
    "half of the file": parquet()[: len(parquet()) // 2] + b"PAR1",
    "the first and last bytes alone": b"PAR1PAR1",
    "another file's beginning": b"PAR1" + bytes(100) + parquet()[104:],
}

WAYS = {
    "npy": (NPY, ["data=npy", "data.path=x", "data.target=y.npy"], "x"),
    "csv": (CSV, ["data=csv", "data.path=x", "data.target=y"], "x"),
    "parquet": (PARQUET, ["data=parquet", "data.path=x", "data.target=y"], "x"),
    "idx": (IDX, ["data=mnist"], "datasets/mnist/train-images-idx3-ubyte"),
}


@pytest.fixture
def honest(folder):
    """Files that are read, in which each of those that lie is put."""
    (folder / "datasets/mnist").mkdir(parents=True)
    (folder / "y.npy").write_bytes(npy(Y))
    rows = "".join(f"{i},{'ab'[i % 2]}\n" for i in range(40))
    contents = {"npy": npy(X), "csv": b"x,y\n" + rows.encode(), "parquet": parquet()}
    contents["idx"] = idx([0, 0, 8, 3], 40, 28, 28)
    for part in ("train", "t10k"):
        (folder / f"datasets/mnist/{part}-images-idx3-ubyte").write_bytes(contents["idx"])
        labels = np.arange(40, dtype=np.uint8) % 10
        (folder / f"datasets/mnist/{part}-labels-idx1-ubyte").write_bytes(idx([0, 0, 8, 1], 40, body=labels.tobytes()))
    return contents


@pytest.mark.parametrize(("way", "name"), [(way, name) for way, (lies, *_) in WAYS.items() for name in lies])
def test_a_file_that_lies_of_its_size_is_refused(folder, honest, refused, way, name):
    lies, words, file = WAYS[way]
    (folder / file).write_bytes(lies[name])
    refused(words, file)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_it_is_refused_before_memory_is_taken(folder, honest, refused, way):
    lies, words, file = WAYS[way]
    for content in lies.values():
        (folder / file).write_bytes(content)
        tracemalloc.start()
        refused(words, file)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 100 * 2**20


@pytest.mark.parametrize("way", WAYS)
def test_the_honest_twin_is_read(folder, honest, way):
    _, words, file = WAYS[way]
    (folder / file).write_bytes(honest[way])
    assert len(settings_of(compose(words)).data.load(0).parts["train"])


BOMB = """
import resource, sys
from bptrain.cli.main import main
import torch, sklearn, polars
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30,) * 2)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["npy", "csv", "idx"])
def test_memory_stays_bounded_where_files_are_sparse(folder, honest, way):
    _, words, file = WAYS[way]
    (folder / file).write_bytes(honest[way])
    os.truncate(folder / file, 2**40)
    done = subprocess.run([sys.executable, "-c", BOMB, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert file in done.stderr
    assert "Traceback" not in done.stderr
