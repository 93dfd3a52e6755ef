"""Coverage: torch's own samples of every class of torch.nn that computes come out verified."""

import itertools

import pytest
import torch

import bptrain
from bptrain.check.coverage import check_sample, coverage, table
from bptrain.check.samples import computing_classes, samples

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's samples use deprecated and slow forms on purpose


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
    assert not {name: found for name, found in verdicts.items() if not found <= {"verified", "contract"}}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_every_sample_of_every_class_is_verified(dtype):
    rows = coverage([dtype])
    assert not {row.name: dict(row.verdicts) for row in rows if not set(row.verdicts) <= {"verified", "contract"}}
    assert sum(row.verdicts.total() for row in rows) > 1800
    assert "| Linear |" in table(rows)


def test_torch_s_own_wrong_backward_is_wrong_in_the_eyes_of_differences_too():
    module, x = torch.nn.CrossMapLRN2d(3, alpha=1.0), torch.randn(2, 5, 3, 2)
    (call,) = bptrain.check_gradients(module, x).culprits
    assert call.function.endswith("CrossMapLRN2d")
    assert call.arbiter == "differences agree with the reference"
    assert bptrain.check_gradients(torch.nn.CrossMapLRN2d(11, alpha=1.0), x).verdict == "verified"  # around all others
