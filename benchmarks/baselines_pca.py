"""Principal components on the very same parts of the data as the autoencoders: as many as a code has numbers.

`python benchmarks/baselines_pca.py [experiment ...]` fits them to the training part, and prints the test's mean squared
error of a value; of the anomaly series the metrics of windows that are given back by as many components. Beside
densities stands that of independent values, each 1 as often as in the training part.
"""

from __future__ import annotations

import sys
from statistics import mean, stdev

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from bptrain.config.compose import compose, settings_of
from bptrain.data.dataset import Dataset
from bptrain.metrics import metrics_for

# Seeds that split otherwise; MNIST's test part is its own, and the anomaly series is split in time.
SEEDS = {
    "digits_linear_autoencoder": range(5),
    "digits_autoencoder": range(5),
    "mnist_autoencoder": range(1),
    "anomaly_autoencoder": range(1),
    "digits_vae": range(5),
    "digits_rbm": range(5),
}


def given_back(dataset: Dataset, part: str, pca: PCA) -> Tensor:
    x = dataset.parts[part].inputs
    rows = pca.inverse_transform(pca.transform(x.flatten(1).numpy()))
    return torch.from_numpy(rows).to(x.dtype).reshape(x.shape)


def scores(dataset: Dataset, components: int) -> dict[str, float]:
    """Each metric of the test part."""
    train, test = dataset.parts["train"], dataset.parts["test"]
    pca = PCA(components, svd_solver="full").fit(train.inputs.flatten(1).numpy())
    predictions, targets = given_back(dataset, "test", pca), test.targets
    if test.labels is not None:
        middle = dataset.shape[-1] // 2
        errors, usual = (
            (given_back(dataset, part, pca) - dataset.parts[part].targets)[:, 0, middle].square()
            for part in ("test", "validation")
        )
        predictions, targets = (errors, usual.quantile(dataset.quantile)), test.labels
    return {m.name: m.compute(predictions, targets, dataset).item() for m in metrics_for(dataset.task)}


def independent(dataset: Dataset) -> dict[str, float]:
    """The negative log-likelihood in nats of the test part, with a row of each value added to the training part."""
    train, test = (dataset.parts[part].inputs.flatten(1) for part in ("train", "test"))
    often = (train.sum(0) + 1) / (len(train) + 2)
    return {"nll": -(test * often.log() + (1 - test) * (1 - often).log()).sum(1).mean().item()}


def main(experiments: list[str]) -> None:
    for name in experiments:
        found = []
        for seed in SEEDS[name]:
            settings = settings_of(compose([f"experiment={name}", f"seed={seed}"]))
            dataset = settings.model.prepared(settings.data.load(seed))
            density = dataset.task == "density"
            found.append(independent(dataset) if density else scores(dataset, settings.model.code))  # type: ignore[attr-defined]
        print(f"{name}: " + ("independent values" if density else f"PCA with {settings.model.code} components"))  # type: ignore[attr-defined]
        for metric in found[0]:
            values = [score[metric] for score in found]
            spread = f" +- {stdev(values):.5f} over seeds 0-{len(values) - 1}" if len(values) > 1 else ""
            print(f"  {metric:20} {mean(values):.5f}{spread}")


if __name__ == "__main__":
    main(sys.argv[1:] or list(SEEDS))
