"""Precision of products: set for the process by each run, TF32 only where a device has it."""

import pytest
import torch

from bptrain.cli.main import main
from bptrain.train.precision import multiply

LAYERS = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)


@pytest.fixture
def ampere(monkeypatch):
    """A GPU that has TF32, as far as torch says."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with getattr(torch.backends, "__allow_nonbracketed_mutation")():  # torch's own tests forbid it for the process
        yield torch.device("cuda")
        multiply("fp32", torch.device("cuda"))


def test_a_run_multiplies_as_it_says_whatever_the_run_before_it_did(ampere):
    for precision, word in (("tf32", "tf32"), ("fp32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee"), ("tf32", "tf32")):
        multiply(precision, ampere)
        assert {layers.fp32_precision for layers in LAYERS} == {word}
        # What older parts of torch read agrees, and so can be read.
        assert torch.backends.cudnn.allow_tf32 == (word == "tf32")
        assert torch.get_float32_matmul_precision() == {"tf32": "high", "ieee": "highest"}[word]


def test_a_gpu_before_ampere_has_no_tf32(monkeypatch, ampere):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(Exception, match="Ampere and later, and this run is on cuda"):
        multiply("tf32", ampere)


def test_on_a_cpu_tf32_is_refused_before_anything_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["precision=tf32"]) == 2
    error = capsys.readouterr().err
    assert "precision: tf32 is a format of NVIDIA GPUs, Ampere and later, and this run is on cpu." in error
    assert "Write precision=fp32" in error
    assert list(tmp_path.iterdir()) == []
