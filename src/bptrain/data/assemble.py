"""Arrays of rows become a Dataset: standardised with what training may know, as tensors, with a fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from bptrain.data.dataset import Dataset, Part, fingerprint
from bptrain.data.rows import Rows

if TYPE_CHECKING:
    from numpy import ndarray

STANDARDIZE = "Scale each feature (each channel of images, signals) to mean 0, deviation 1 over the training part."
STANDARDIZE_TARGET = "Scale the target to mean 0 and deviation 1 over the training part; metrics keep its units."
BINARIZE = "Pixels above this become 1 and all others 0; null leaves them as they are."


def standardized(parts: Mapping[str, ndarray]) -> tuple[dict[str, ndarray], ndarray]:
    """Each feature minus its mean and over its standard deviation, both of the training part; and the deviations.

    Arrays are (N, F) with F features, or (N, C, ...) where a channel is a feature: its pixels or moments
    keep their proportions, and one that is nearly constant is not blown up. A feature that is constant in
    training has a deviation of 1 here, so it is 0 there.
    """
    import numpy as np
    from sklearn.preprocessing import StandardScaler

    last = {name: np.moveaxis(x, 1, -1) for name, x in parts.items()}  # (N, ..., F)
    features = parts["train"].shape[1]
    scaler = StandardScaler().fit(last["train"].reshape(-1, features))
    scaled = {name: scaler.transform(x.reshape(-1, features)).reshape(x.shape) for name, x in last.items()}
    return {name: np.moveaxis(x, -1, 1) for name, x in scaled.items()}, scaler.scale_


def binarized(pixels: ndarray, threshold: float | None) -> ndarray:
    """1 above the threshold and 0 elsewhere; as they are without one."""
    return pixels if threshold is None else (pixels > threshold).astype(pixels.dtype)


def assemble(
    name: str,
    inputs: Mapping[str, ndarray] | Mapping[str, Rows],
    targets: Mapping[str, ndarray],
    classes: tuple[str, ...],
    standardize_target: bool = False,
    multilabel: bool = False,
) -> Dataset:
    """The dataset of parts given as arrays: inputs (N, *shape), or Rows as they are, targets (N,) or (N, O).

    With `classes` the targets are indices into them, or for `multilabel` 0 and 1 (N, O) for each; without they are
    numbers and may be standardised.
    """
    import numpy as np
    import torch

    scale: tuple[float, ...] = ()
    if not classes:
        targets = {part: y.reshape(len(y), -1) for part, y in targets.items()}  # (N, O)
        scale = (1.0,) * targets["train"].shape[1]
        if standardize_target:
            targets, deviations = standardized(targets)
            scale = tuple(map(float, deviations))
    kind = np.int64 if classes and not multilabel else np.float32
    parts = {
        part: Part(
            cast("torch.Tensor", x) if isinstance(x, Rows) else torch.from_numpy(x.astype(np.float32, order="C")),
            torch.from_numpy(targets[part].astype(kind)),
        )
        for part, x in inputs.items()
    }
    return Dataset(
        name=name,
        task="multilabel" if multilabel else "classification" if classes else "regression",
        shape=tuple(parts["train"].inputs.shape[1:]),
        outputs=len(classes) or len(scale),
        classes=classes,
        parts=parts,
        target_scale=scale,
        fingerprint=fingerprint(parts),
    )
