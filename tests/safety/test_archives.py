"""Archives, images and what unpacks to far more than it is: refused by name, or before it is unpacked."""

import bz2
import gzip
import io
import lzma
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import polars
import pytest

from bptrain.config.compose import compose, settings_of
from bptrain.data.fetch import _contents

X = np.random.default_rng(0).normal(size=(40, 3))


def saved(write, *values, **options):
    buffer = io.BytesIO()
    write(buffer, *values, **options)
    return buffer.getvalue()


def zipped(name, content, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


ROWS = b"x,y\n" + b"1,a\n2,b\n" * 20
ZEROS = bytes(10**7)
FILES = {
    "npz": (saved(np.savez, x=X), "is an archive, such as NPZ"),
    "npz with a member elsewhere": (zipped("../../tripped", b"x"), "is an archive"),
    "npz of objects": (saved(np.savez, x=np.array([{}] * 40, object)), "is an archive"),
    "npz that is a bomb": (saved(np.savez_compressed, x=np.zeros(10**6)), "is an archive"),
    "zip": (zipped("x.csv", ROWS), "is an archive"),
    "zip that is a bomb": (zipped("x.csv", ZEROS), "is an archive"),
    "empty zip": (b"PK\5\6" + bytes(18), "is an archive"),
    "gzip": (gzip.compress(ROWS), "is compressed"),
    "gzip that is a bomb": (gzip.compress(ZEROS), "is compressed"),
    "bzip2 that is a bomb": (bz2.compress(ZEROS), "is compressed"),
    "xz that is a bomb": (lzma.compress(ZEROS), "is compressed"),
    "zstandard": (b"\x28\xb5\x2f\xfd" + bytes(20), "is compressed"),
    "png of 10^9 pixels": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\xff\xff\xff\xff" * 2 + bytes(9), "is an image"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(20), "is an image"),
    "gif": (b"GIF89a" + b"\xff" * 40, "is an image"),
    "tiff": (b"II*\0" + b"\xff" * 40, "is an image"),
    "webp": (b"RIFF\xff\xff\xff\xffWEBPVP8L" + bytes(20), "is an image"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "is an HDF5 file"),
}
WAYS = {
    "csv": ["data=csv", "data.path=x", "data.target=y"],
    "npy": ["data=npy", "data.path=x", "data.target=y.npy"],
    "parquet": ["data=parquet", "data.path=x", "data.target=y"],
}


@pytest.mark.parametrize("way", WAYS)
def test_an_archive_or_an_image_is_refused_by_name_with_what_to_do_instead(folder, refused, way):
    np.save(folder / "y.npy", np.arange(40) % 2)
    for content, said in FILES.values():
        (folder / "x").write_bytes(content)
        refused(WAYS[way], "x: ", said, "Save " if "compressed" not in said else "Unpack it.")
    honest = {"csv": ROWS, "npy": saved(np.save, X), "parquet": table({"x": range(40), "y": [0, 1] * 20})}
    (folder / "x").write_bytes(honest[way])
    assert len(settings_of(compose(WAYS[way])).data.load(0).parts["train"])


@pytest.mark.parametrize("name", ["mnist/train-images-idx3-ubyte", "mnist/train-labels-idx1-ubyte"])
def test_fetched_files_are_not_unpacked_either(folder, refused, name):
    (folder / "datasets/mnist").mkdir(parents=True)
    for part in ("train", "t10k"):
        images = bytes([0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(7840)
        (folder / f"datasets/mnist/{part}-images-idx3-ubyte").write_bytes(images)
        (folder / f"datasets/mnist/{part}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 10, *range(10)]))
    (folder / "datasets" / name).write_bytes(gzip.compress(ZEROS))
    refused(["data=mnist"], name, "is compressed")


def table(columns, **options):
    return saved(lambda file: polars.DataFrame(columns).write_parquet(file, **options))


def test_a_parquet_file_whose_pages_unpack_to_too_much_is_refused(folder, refused, monkeypatch):
    monkeypatch.setattr("bptrain.data.parquet_file.ROOM", 2**20)
    texts = ["x" * 10**5 + str(i) for i in range(40)]
    for compression in ("zstd", "brotli"):
        (folder / "x").write_bytes(table({"x": texts, "y": range(40)}, compression=compression))
        refused(WAYS["parquet"], "x: unpacks to 4,000,", "more than 1000 times its size")


def test_a_text_that_a_parquet_file_has_once_for_many_rows_is_refused(folder, refused, monkeypatch):
    monkeypatch.setattr("bptrain.data.parquet_file.TEXT", 10**7)
    long = polars.Series(["x" * 10**6, "y"], dtype=polars.String)
    for kind in (polars.String, polars.Categorical):
        texts = long.gather([0, 1] * 20).cast(kind)
        (folder / "x").write_bytes(table({"x": texts, "y": range(40)}))
        refused(WAYS["parquet"], "column 'x' has 20,000,020 bytes of text in 40 rows")


WATCHED = """
import resource, sys
from bptrain.cli.main import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


@pytest.mark.slow
def test_a_bomb_takes_no_more_memory_than_the_room_there_is_for_any_file(folder):
    texts = polars.Series(["x" * 10**7, "y"]).cast(polars.Categorical).gather([0, 1] * 500)
    (folder / "x").write_bytes(table({"x": texts, "y": range(1000)}))
    assert (folder / "x").stat().st_size < 20_000
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *WAYS["parquet"]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "column 'x' has 5,000,000,500 bytes of text" in done.stderr
    assert int(done.stdout.split()[-1]) < 1_500_000  # KiB, with torch


def tarred(size, content=b""):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("package/data/x")
        member.size = size
        buffer_of = io.BytesIO(content or bytes(size))
        tar.addfile(member, buffer_of)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "archive",
    [zipped("a", ZEROS), zipped("a", ZEROS, zipfile.ZIP_LZMA), tarred(10**7)],
    ids=["zip", "zip of lzma", "tar.gz"],
)
def test_an_archive_of_a_registry_that_unpacks_to_too_much_is_not_unpacked(monkeypatch, archive):
    assert sum(len(data) for _, data in _contents(archive)) == 10**7
    monkeypatch.setattr("bptrain.data.fetch.LARGEST", 10**7 - 1)
    with pytest.raises(ValueError, match="unpacks to more than 9,999,999 bytes"):
        dict(_contents(archive))
