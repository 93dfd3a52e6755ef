"""Error rates of sequences against the recursion of the edit distance, and by hand."""

import math
from contextlib import nullcontext
from dataclasses import replace
from functools import cache

import pytest
import torch

from bptrain.data.dataset import END, PAD, Dataset, Part
from bptrain.metrics import metrics_for, monitored
from bptrain.metrics.transduction import edit_distance
from bptrain.train.evaluation import evaluate

DATASET = Dataset("made", "transduction", (1,), 6, (), {}, (), "")


def compute(name, predictions, targets):
    metric = next(metric for metric in metrics_for("transduction") if metric.name == name)
    return metric.compute(torch.tensor(predictions), torch.tensor(targets), DATASET).item()


def recursion(a, b):
    @cache
    def distance(i, j):
        if not i or not j:
            return i + j
        kept = distance(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, kept)

    return distance(len(a), len(b))


def padded(rows, width, end=False):
    return torch.tensor([[*row, *([END] if end else [])] + [PAD] * (width - len(row) - end) for row in rows])


def test_the_edit_distance_is_that_of_the_recursion():
    draws = torch.Generator().manual_seed(0)

    def rows(longest):
        lengths = torch.randint(longest + 1, (200,), generator=draws).tolist()
        return [torch.randint(2, 5, (n,), generator=draws).tolist() for n in lengths]

    a, b = rows(6), rows(8)
    expected = [recursion(tuple(x), tuple(y)) for x, y in zip(a, b, strict=True)]
    assert {0, 1, 2, 8} <= {*expected}
    assert edit_distance(padded(a, 6), padded(b, 9, end=True)).tolist() == expected
    assert edit_distance(padded(b, 9, end=True), padded(a, 6)).tolist() == expected


def test_what_comes_after_the_end_does_not_count():
    a, b = torch.tensor([[2, 3, END, 4, 5]]), torch.tensor([[2, 3, PAD, 3, END, 2]])
    assert edit_distance(a, b).item() == 0


TARGETS = [[2, 3, 4, END, PAD], [2, END, PAD, PAD, PAD], [5, 5, 5, 5, END]]
PREDICTIONS = [[2, 3, 4, PAD], [3, 2, PAD, PAD], [5, 4, 5, PAD]]


def test_errors_are_counted_by_sequence_and_by_token():
    assert compute("sequence_error_rate", PREDICTIONS, TARGETS) == pytest.approx(2 / 3)
    assert compute("token_error_rate", PREDICTIONS, TARGETS) == pytest.approx((0 + 1 + 2) / 8)


def test_the_nearest_of_all_targets_that_are_right_counts():
    right = [[target, [5, 4, END, PAD, PAD]] for target in TARGETS]
    assert compute("sequence_error_rate", PREDICTIONS, right) == pytest.approx(2 / 3)
    assert compute("token_error_rate", PREDICTIONS, right) == pytest.approx((0 + 1 + 1) / (3 + 1 + 2))
    assert compute("sequence_error_rate", [[5, 4, PAD]] * 3, right) == 0


def test_words_and_phonemes_have_the_names_that_their_fields_use():
    assert compute("word_error_rate", PREDICTIONS, TARGETS) == compute("sequence_error_rate", PREDICTIONS, TARGETS)
    assert compute("phoneme_error_rate", PREDICTIONS, TARGETS) == compute("token_error_rate", PREDICTIONS, TARGETS)
    assert monitored(None, "transduction") == ("sequence_error_rate", "min")


class Writer(torch.nn.Module):
    """Gives scores that say nothing, and writes what it was made with."""

    def __init__(self, written):
        super().__init__()
        self.written = written

    def forward(self, x):
        return torch.zeros(len(x), 3, 6)

    def predict(self, x):
        return self.written[: len(x)]


def test_a_part_is_judged_by_all_that_is_right_and_its_loss_by_the_target():
    targets = torch.tensor([[2, 3, END], [4, END, PAD]])
    right = torch.tensor([[[2, 3, END], [5, END, PAD]], [[4, END, PAD], [4, END, PAD]]])
    writer = Writer(torch.tensor([[5, PAD, PAD], [4, 4, PAD]]))
    loss = torch.nn.CrossEntropyLoss(ignore_index=PAD)

    def scores(labels):
        part = Part(torch.zeros(2, 5, dtype=torch.int64), targets, labels)
        dataset = replace(DATASET, parts={"test": part})
        seen = evaluate(
            writer,
            lambda y, t: loss(y.flatten(0, 1), t.flatten()),
            dataset,
            "test",
            metrics_for("transduction"),
            nullcontext(),
        )
        return seen["loss"], seen["sequence_error_rate"], seen["token_error_rate"]

    assert scores(None) == pytest.approx((math.log(6), 1.0, 3 / 3))
    assert scores(right) == pytest.approx((math.log(6), 0.5, 1 / 2))
