"""The loop that one writes without bptrain. As a script it trains the default network, or one on images, once.

`python benchmarks/plain.py EPOCHS [FOLDER]`: digits, or the IDX files of images in a folder. Nothing here imports
bptrain.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from networks import cnn, mlp
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

Examples = tuple[Tensor, Tensor]  # inputs, and the class of each
BATCH_SIZE, RATE = 32, 1e-3  # of the default run


def train(
    network: nn.Module,
    optimizer: Optimizer,
    epochs: int,
    batches: Callable[[int], Iterable[Examples]],
    validation: Examples,
    after: Callable[[], object] = lambda: None,
) -> list[list[float]]:
    """`batches` makes those of an epoch, and `after` is called at its end; losses and accuracy of each."""
    loss_of, history = nn.CrossEntropyLoss(), []
    for epoch in range(epochs):
        total, steps = torch.zeros(()), 0
        for inputs, targets in batches(epoch):
            optimizer.zero_grad()
            loss = loss_of(network(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.detach()
            steps += 1
        history.append([total.item() / steps, *scores(network, validation)])
        after()
    return history


def scores(network: nn.Module, part: Examples) -> list[float]:
    """Loss and accuracy."""
    inputs, targets = part
    network.eval()
    with torch.no_grad():
        outputs = network(inputs)
        found = [nn.functional.cross_entropy(outputs, targets), (outputs.argmax(1) == targets).float().mean()]
    network.train()
    return [score.item() for score in found]


def rows_of(part: Examples, order: Callable[[int], Tensor], size: int) -> Callable[[int], Iterable[Examples]]:
    """Batches picked from tensors by index, in the order of each epoch."""
    inputs, targets = part
    return lambda epoch: ((inputs[rows], targets[rows]) for rows in order(epoch).split(size))


def run(lr: float, seed: int, epochs: int, folder: Path | None = None) -> float:
    """One training as a whole, from its data to the accuracy on its test part."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    parts = _digits(seed) if folder is None else _images(folder, seed)
    network = mlp(128, 128, 128) if folder is None else cnn()
    generator = torch.Generator().manual_seed(seed)
    rows = len(parts[0][0])
    batches = rows_of(parts[0], lambda _: torch.randperm(rows, generator=generator), BATCH_SIZE)
    train(network, Adam(network.parameters(), lr), epochs, batches, parts[1])
    return scores(network, parts[2])[1]


def _digits(seed: int) -> list[Examples]:
    images, targets = load_digits(return_X_y=True)
    rest, test = train_test_split(np.arange(len(images)), test_size=359, random_state=seed, stratify=targets)
    train, validation = train_test_split(rest, test_size=269, random_state=seed, stratify=targets[rest])
    x, y = torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 16, torch.from_numpy(targets)
    x = (x - x[train].mean(0)) / (x[train].std(0) + 1e-6)
    return [(x[rows], y[rows]) for rows in (train, validation, test)]


def _images(folder: Path, seed: int) -> list[Examples]:
    parts = []
    for name in ("train", "t10k"):
        images = np.fromfile(folder / f"mnist/{name}-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 1, 28, 28)
        labels = np.fromfile(folder / f"mnist/{name}-labels-idx1-ubyte", np.uint8)[8:]
        parts.append((torch.from_numpy(images).float() / 255, torch.from_numpy(labels).long()))
    (inputs, targets), test = parts
    train, validation = train_test_split(np.arange(len(inputs)), test_size=0.15, random_state=seed, stratify=targets)
    return [*((inputs[rows], targets[rows]) for rows in (train, validation)), test]


if __name__ == "__main__":
    print(f"test accuracy {run(RATE, 0, int(sys.argv[1]), *map(Path, sys.argv[2:])):.3f}")
