"""What the benchmarks train: the default run, a smaller network, images, and sequences."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from networks import Recurrent, cnn, mlp
from torch import nn

from bptrain.data.idx import read_idx

ROWS = {"train": 2000, "t10k": 200}  # of the images
FETCHED = Path(__file__).parent.parent / "datasets"


@dataclass(frozen=True)
class Workload:
    """A run by its command line, cut short where it need not be long, and the same network in plain torch.

    `targets` are ratios to the plain loop by what has to reach them. `sizes` are those of a perceptron's hidden layers.
    """

    name: str
    words: tuple[str, ...]
    network: Callable[[], nn.Module]
    targets: dict[str, float]
    sizes: tuple[int, ...] = ()


def workloads(folder: Path, quick: bool) -> list[Workload]:
    """All of them; the images are written to `folder`."""
    images = write_images(folder)
    mlps = (f"fit.epochs={2 if quick else 60}",)
    short = (f"fit.epochs={2 if quick else 5}",)
    pixels = ("data=mnist", f"data.folder={folder}", "model=cnn", "model.norm=batch", *short)
    default = {"eager": 1.0, "compiled": 0.33, "population": 0.08}
    convolutional = {"eager": 1.0, "compiled": 0.9, "bf16": 0.6, "population": 0.3}
    small = {"eager": 1.0, "population": 0.08}
    found = [
        Workload("64-128-128-128-10, the default run", mlps, partial(mlp, 128, 128, 128), default, (128, 128, 128)),
        Workload("64-64-64-64-10", ("model.sizes=[64,64,64]", *mlps), partial(mlp, 64, 64, 64), small, (64, 64, 64)),
        Workload(f"2-d CNN on 28x28 ({images})", pixels, cnn, convolutional),
    ]
    for kind, targets in (("GRU", (0.5, 0.2)), ("LSTM", (1.0, 0.9))):
        words = ("data=mnist1d", f"model={kind.lower()}", *short)
        asked = {"eager": 1.0, "compiled": targets[0], "population": targets[1]}
        network = partial(Recurrent, getattr(nn, kind))
        found.append(Workload(f"{kind} of 64 on 40 steps (MNIST-1D)", words, network, asked))
    return found


def write_images(folder: Path) -> str:
    """IDX files of the first images of MNIST, or of random ones without it; says which."""
    (folder / "mnist").mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    fetched = (FETCHED / "mnist/train-images-idx3-ubyte").exists()
    for part, rows in ROWS.items():
        made = {"images-idx3": generator.integers(0, 256, (rows, 28, 28)), "labels-idx1": np.arange(rows) % 10}
        for kind, values in made.items():
            file = f"mnist/{part}-{kind}-ubyte"
            if fetched:
                values = read_idx(FETCHED / file, values.shape[1:])[:rows]
            head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
            (folder / file).write_bytes(head + values.astype(np.uint8).tobytes())
    return "MNIST" if fetched else "random pixels"


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """To the last bit."""
    return torch.equal(*(nn.utils.parameters_to_vector(network.parameters()) for network in (one, other)))
