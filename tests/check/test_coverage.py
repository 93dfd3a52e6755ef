"""Coverage: torch's own samples of every class of torch.nn that computes come out verified."""

import itertools

import pytest
import torch

from bptrain.check.coverage import check_sample, coverage, table
from bptrain.check.samples import computing_classes, samples

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's samples use deprecated and slow forms on purpose

# Its forward is a Function that writes into its buffers, where the reference can't follow.
UNFOLLOWED = {"CrossMapLRN2d"}


def test_every_class_has_a_sample():
    assert {sample.name for sample in samples(torch.float64)} == computing_classes()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_first_samples_of_every_class_are_verified(dtype):
    verdicts = {}
    for name, given in itertools.groupby(samples(dtype), key=lambda sample: sample.name):
        for sample in itertools.islice(given, 2):
            report = check_sample(sample)
            if report.finite:
                verdicts.setdefault(name, set()).add(report.verdict)
    assert {name: found for name, found in verdicts.items() if not found <= {"verified", "contract"}} == {
        name: {"unverified"} for name in UNFOLLOWED
    }


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_every_sample_of_every_class_is_verified(dtype):
    rows = coverage([dtype])
    assert {row.name: dict(row.verdicts) for row in rows if not set(row.verdicts) <= {"verified", "contract"}} == {
        name: {"unverified": 1} for name in UNFOLLOWED
    }
    assert sum(row.verdicts.total() for row in rows) > 1800
    assert "| Linear |" in table(rows)
