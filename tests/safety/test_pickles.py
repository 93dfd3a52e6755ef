"""Pickles, which run code when they are loaded: under any name and on any way in, none is loaded."""

import io
import pickle
import shutil
import struct

import joblib
import numpy as np
import polars
import pytest
import torch

from bptrain.cli.main import main
from bptrain.config.compose import compose, settings_of

CLASSES = np.arange(40) % 2
DIGITS = np.arange(40, dtype=np.uint8) % 10


def saved(write, *values):
    buffer = io.BytesIO()
    write(buffer, *values)
    return buffer.getvalue()


def array(canary):
    return np.array([canary] * 40, object)


PICKLES = {
    "x.pkl": pickle.dumps,
    "x.pickle": lambda canary: pickle.dumps(canary, 2),
    "x.dat": lambda canary: pickle.dumps(canary, 0),
    "x.pt": lambda canary: saved(lambda file, value: torch.save(value, file), canary),
    "x.pth": lambda canary: saved(
        lambda file, value: torch.save(value, file, _use_new_zipfile_serialization=False), canary
    ),
    "x.ckpt": lambda canary: saved(lambda file, value: torch.save({"state_dict": value}, file), canary),
    "x.bin": lambda canary: pickle.dumps([canary], 4),
    "x.joblib": lambda canary: saved(lambda file, value: joblib.dump(value, file), canary),
    "x.joblib.z": lambda canary: saved(lambda file, value: joblib.dump(value, file, compress=3), canary),
    "x.joblib.gz": lambda canary: saved(lambda file, value: joblib.dump(value, file, compress=("gzip", 3)), canary),
    "x.npy": lambda canary: saved(lambda file, value: np.save(file, value, allow_pickle=True), array(canary)),
    "x.npz": lambda canary: saved(lambda file, value: np.savez(file, x=value), array(canary)),
    "x.csv": lambda canary: pickle.dumps(canary, 3),
    "x.parquet": lambda canary: b"PAR1" + pickle.dumps(canary) + struct.pack("<I", 40) + b"PAR1",
    "x.safetensors": lambda canary: struct.pack("<Q", 60) + pickle.dumps(canary),
}


def idx(values):
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def csv_of(names):
    rows = [",".join(map(str, [i % 7, i * i, CLASSES[i]][: len(names)])) for i in range(40)]
    return "\n".join([",".join(names), *rows]).encode() + b"\n"


def parquet():
    return saved(lambda file, table: table.write_parquet(file), polars.DataFrame({"x": range(40), "y": CLASSES}))


SERIES = b"# tiny\n@DATA\n" + b"1,2,3.5:b\n-1,0,2:a\n" * 5
IMAGES = np.zeros((40, 28, 28), np.uint8)
WAYS = {  # the words that name a file x, and what it should be
    "csv": (["data=csv", "data.path=x", "data.target=y"], csv_of("xzy")),
    "series": (["data=series", "data.path=x", "data.column=z", "data.window=3"], csv_of("xz")),
    "inputs": (
        ["data=npy", "data.path=x", "data.target=y.npy"],
        saved(np.save, np.random.default_rng(0).normal(size=(40, 3))),
    ),
    "targets": (["data=npy", "data.path=y.npy", "data.target=x"], saved(np.save, CLASSES)),
    "parquet": (["data=parquet", "data.path=x", "data.target=y"], parquet()),
}
FETCHED = {  # the words that read a file of a fetched folder, its name there, and what it should be
    "mnist images": (["data=mnist"], "mnist/train-images-idx3-ubyte", idx(IMAGES)),
    "mnist labels": (["data=mnist"], "mnist/train-labels-idx1-ubyte", idx(DIGITS)),
    "ucr": (["data=ucr", "data.set=Tiny", "data.split.validation=0"], "aeon/Tiny_TRAIN.ts", SERIES),
    "cmudict": (
        ["data=cmudict"],
        "cmudict/cmudict.dict",
        b"".join(b"a%s AH0\n" % bytes([c]) for c in range(97, 123)),
    ),
    "sentiment": (
        ["data=sentiment"],
        "vader/movieReviewSnippets_GroundTruth.txt",
        b"".join(b"%d\t%d\tgood and bad %d\n" % (i, [-1, 2][i % 2], i) for i in range(40)),
    ),
    "sunspots": (
        ["data=sunspots"],
        "statsmodels/sunspots.csv",
        b"YEAR,SUNACTIVITY\n" + b"".join(b"%d,%d\n" % (1700 + i, i * i % 17) for i in range(200)),
    ),
}


@pytest.fixture
def folder_of(folder):
    """The folder of fetched data with all of its files as they should be."""
    for _, name, content in FETCHED.values():
        (folder / "datasets" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "datasets" / name).write_bytes(content)
    (folder / "datasets/aeon/Tiny_TEST.ts").write_bytes(SERIES)
    for name, content in (("images-idx3", IMAGES), ("labels-idx1", DIGITS)):
        (folder / f"datasets/mnist/t10k-{name}-ubyte").write_bytes(idx(content))
    return folder / "datasets"


def loaded(words):
    return settings_of(compose(words)).data.load(0)


@pytest.mark.parametrize(
    ("name", "load"),
    [
        *((name, pickle.load) for name in ("x.pkl", "x.pickle", "x.dat", "x.bin", "x.csv")),
        *((name, lambda file: torch.load(file, weights_only=False)) for name in ("x.pt", "x.pth", "x.ckpt")),
        *((name, joblib.load) for name in ("x.joblib", "x.joblib.z", "x.joblib.gz")),
        ("x.npy", lambda file: np.load(file, allow_pickle=True)),
        ("x.npz", lambda file: np.load(file, allow_pickle=True)["x"]),
    ],
)
def test_the_canary_lives(canary, tripped, name, load):
    load(io.BytesIO(PICKLES[name](canary)))
    assert tripped.exists()


@pytest.mark.parametrize("way", WAYS)
def test_no_reader_of_a_file_loads_a_pickle_whatever_its_name(folder, refused, canary, way):
    words, honest = WAYS[way]
    names = ["data.path=x", "data.target=x"]
    (folder / "y.npy").write_bytes(saved(np.save, CLASSES if way != "targets" else np.arange(80.0).reshape(40, 2)))
    for name, dumps in PICKLES.items():
        (folder / name).write_bytes(dumps(canary))
        refused([word[:-1] + name if word in names else word for word in words], name)
    (folder / "x").write_bytes(honest)
    assert len(loaded(words).parts["train"])


@pytest.mark.parametrize("way", FETCHED)
def test_no_reader_of_fetched_data_loads_a_pickle(folder_of, refused, canary, way):
    words, name, honest = FETCHED[way]
    for dumps in ("x.pkl", "x.dat", "x.pt", "x.npy"):
        (folder_of / name).write_bytes(PICKLES[dumps](canary))
        refused(words, name.rpartition("/")[2])
    (folder_of / name).write_bytes(honest)
    assert len(loaded(words).parts["train"])


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"])
def test_no_pickle_in_a_checkpoint_is_loaded(folder, run, refused, canary, name):
    path = folder / run / "checkpoints/last" / name
    honest = path.read_bytes()
    for dumps in PICKLES.values():
        path.write_bytes(dumps(canary))
        refused(["resume", str(run)], name)
    path.write_bytes(honest)
    assert main(["resume", "-q", str(run), "fit.epochs=3"]) == 0


@pytest.mark.parametrize(
    ("verb", "name"), [("resume", "lock.json"), ("resume", "sweep.json"), ("reproduce", "lock.json")]
)
def test_no_pickle_in_the_directory_of_a_run_is_loaded(folder, run, refused, canary, verb, name):
    for dumps in PICKLES.values():
        (folder / run / name).write_bytes(dumps(canary))
        refused([verb, str(run)], str(run))


def test_no_pickle_in_the_place_of_metrics_is_loaded(folder, run, refused, canary):
    for dumps in ("x.pkl", "x.dat"):
        (folder / run / "metrics.jsonl").write_bytes(PICKLES[dumps](canary))
        refused(["reproduce", "-q", str(run)], "has no metrics.jsonl")


def test_no_pickle_in_the_place_of_a_config_is_loaded(folder, refused, canary):
    (folder / "own/optimizer").mkdir(parents=True)
    for dumps in PICKLES.values():
        (folder / "own/optimizer/x.yaml").write_bytes(dumps(canary))
        refused(["--config-dir", "own", "optimizer=x"])
    shutil.copyfile(compose_source(), folder / "own/optimizer/x.yaml")
    assert main(["--config-dir", "own", "optimizer=x", "--cfg", "job"]) == 0


def compose_source():
    from bptrain.config.tree import config_root

    return config_root() / "optimizer/adam.yaml"
