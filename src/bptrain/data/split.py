"""Which rows are for training, which for validation and which for the test: from the seed alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bptrain.config.component import setting
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from numpy import ndarray

By = Literal["auto", "stratified", "random", "order", "interleaved"]
SPLIT = "How the rows are shared out to training, validation and test."
SHOWN = 5  # of the classes that are too small
BY = (
    "How rows are chosen: stratified (equal shares of each class), random, order (the first rows train, then "
    "validation, then test), or interleaved (with test 0.1 every 10th row is for the test); auto is stratified for "
    "classes and random for regression."
)


@dataclass(frozen=True)
class Split:
    """The shares of a set that has no parts of its own.

    A share above 0 is rounded down, but is one row at least, and when stratified as many rows as there are classes.
    """

    validation: float = setting(0.15, "Share of the rows to watch the training with; 0 for none.", minimum=0, below=1)
    test: float = setting(0.2, "Share of the rows kept for the final test; 0 for none.", minimum=0, below=1)
    by: By = setting("auto", BY)

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            raise RequestError(
                Problem(
                    "data.split",
                    f"validation {self.validation:g} and test {self.test:g} leave no row to train on.",
                    "Write shares that sum to less than 1.",
                )
            )


@dataclass(frozen=True)
class OwnTestSplit:
    """The share of validation in a set that brings its own test part; validation comes out of the rest."""

    validation: float = setting(0.15, "Share of the training rows held out; 0 for none.", minimum=0, below=1)
    test: float | None = setting(None, "Always null: the set brings its own test part.")
    by: By = setting("auto", BY)

    def __post_init__(self) -> None:
        if self.test is not None:
            raise RequestError(
                Problem(
                    "data.split.test",
                    f"is {self.test:g}, but this set brings its own test part, which is kept whole.",
                    "Write null.",
                )
            )


def divide(targets: ndarray, classes: tuple[str, ...], split: Split, seed: int) -> dict[str, ndarray]:
    """The rows of "train", "validation" and "test" as indices into `targets`; a part without rows is absent.

    `targets` (N,) are indices into `classes`, or anything of length N when there are no classes. The test
    part is drawn first, so it stays the same when only the share of validation changes. RequestError
    when there are too few rows, or too few of a class for a stratified split.
    """
    import numpy as np
    from sklearn.model_selection import train_test_split

    by = ("stratified" if classes else "random") if split.by == "auto" else split.by
    if by == "stratified" and not classes:
        what = "stratified needs classes, but the target is a number."
        raise RequestError(Problem("data.split.by", what, "Write random or order."))
    count = len(targets)
    least = len(classes) if by == "stratified" else 1
    shares = {"test": split.test, "validation": split.validation}
    # 0.29 * 100 is 28.999...96
    sizes = {part: max(least, int(share * count + 1e-9)) for part, share in shares.items() if share > 0}
    if sum(sizes.values()) >= count:
        held = " and ".join(f"{size} for {part}" for part, size in sizes.items()) or "none held out"
        what = f"{_count(count, 'row')}, {held}: none is left to train on."
        raise RequestError(Problem("data.split", what, "Give more rows or hold out fewer."))
    generator = np.random.RandomState(seed % 2**32)
    rest, held_out = np.arange(count), {}
    for part, size in sizes.items():
        if by == "order":
            rest, held_out[part] = rest[:-size], rest[-size:]
            continue
        if by == "interleaved":
            places = np.arange(size) * len(rest) // size  # the first row of each of `size` equal stretches
            rest, held_out[part] = np.delete(rest, places), rest[places]
            continue
        strata = None
        if by == "stratified":
            strata = targets[rest]
            others = ["train", *(other for other in reversed(sizes) if other not in held_out and other != part)]
            _require_strata(strata, classes, part, size, others)
        rest, held_out[part] = train_test_split(rest, test_size=size, random_state=generator, stratify=strata)
    return {"train": rest, **{part: held_out[part] for part in reversed(sizes)}}


def _require_strata(strata: ndarray, classes: tuple[str, ...], part: str, size: int, others: list[str]) -> None:
    """RequestError unless `size` of the rows can be drawn for `part` in equal shares of each class."""
    import numpy as np

    found, counts = np.unique(strata, return_counts=True)
    parts = [*others, part]
    rare = [(classes[label], count) for label, count in zip(found, counts, strict=True) if count < len(parts)]
    if rare:
        words = f"the {len(parts)} parts {', '.join(parts[:-1])} and {part}"
        raise RequestError(
            [
                Problem(
                    "data.split.by",
                    f"class '{name}' has only {_count(count, 'row')} for {words}.",
                    "Write data.split.by=random, or give the class more rows.",
                )
                for name, count in rare[:SHOWN]
            ]
        )
    rows = len(strata) - size
    if rows < len(found):
        what = f"{_count(rows, 'row')} for {' and '.join(others)} can't hold each of the {len(found)} classes."
        raise RequestError(Problem("data.split", what, "Change the shares, or write data.split.by=random."))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
