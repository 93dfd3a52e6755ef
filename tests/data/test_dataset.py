"""The fingerprint and what loading may not do."""

import subprocess
import sys

import torch

from bptrain.data.dataset import Part, fingerprint


def parts():
    return {"train": Part(torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 1]))}


def test_fingerprint_is_the_same_for_the_same_data():
    assert fingerprint(parts()) == fingerprint(parts())
    assert len(fingerprint(parts())) == 64


def test_fingerprint_changes_with_one_byte():
    changed = parts()
    changed["train"].inputs.view(torch.uint8)[1, 2] ^= 1
    assert fingerprint(changed) != fingerprint(parts())


def test_fingerprint_changes_with_one_target():
    changed = parts()
    changed["train"].targets[2] = 0
    assert fingerprint(changed) != fingerprint(parts())


def test_fingerprint_knows_the_shape():
    part = parts()["train"]
    assert fingerprint({"train": Part(part.inputs.reshape(3, 1, 2), part.targets)}) != fingerprint(parts())


def test_fingerprint_knows_the_dtype():
    part = parts()["train"]
    same_bytes = Part(part.inputs.view(torch.int32), part.targets)
    assert fingerprint({"train": same_bytes}) != fingerprint(parts())


def test_fingerprint_knows_the_name_of_a_part():
    assert fingerprint({"test": parts()["train"]}) != fingerprint(parts())


def test_finding_the_components_loads_no_heavy_library():
    code = (
        "import sys; from bptrain.config.component import components; assert components('data')['csv'];"
        "print([m for m in ('torch', 'numpy', 'sklearn', 'polars', 'mnist1d') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
