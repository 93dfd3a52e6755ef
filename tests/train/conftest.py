"""Engines on a few random rows, for networks of a test's own."""

import os
import socket
import subprocess
import sys

import pytest
import torch
import torch._inductor.config
from torch import nn

from bptrain.config.compose import compose, settings_of
from bptrain.data.dataset import Part
from bptrain.schedulers import Constant
from bptrain.train.compiled import Compiled
from bptrain.train.engine import Eager
from bptrain.train.fit import steps_of
from bptrain.train.run import build
from bptrain.train.state import State

TINY = ["data=iris", "model.sizes=[2]", "fit.batch_size=16", "optimizer=sgd", "fit.epochs=2"]


@pytest.fixture
def rows():
    """One batch of the 7 rows."""
    return [torch.tensor([5, 0, 3, 6])]


@pytest.fixture
def eager_of():
    def eager_of(model, optimizer, clip=None, casts=None):
        """The eager engine on 7 rows (3,) with targets (3,), in the dtype of the model."""
        generator, (w, *_) = torch.Generator().manual_seed(1), model.parameters()
        inputs, targets = (torch.randn(7, 3, generator=generator).to(w.dtype) for _ in range(2))
        state = State(model, optimizer, Constant().build(optimizer, 1, 1))
        return Eager(state, nn.MSELoss(), Part(inputs, targets), clip, casts)

    return eager_of


@pytest.fixture
def run_of():
    def run_of(*overrides):
        """A small run on iris: 98 rows in batches of 16, so that the last of the 7 steps of an epoch has 2."""
        return build(settings_of(compose([*TINY, *overrides])))

    return run_of


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The folder in which the program of `run_of()` has been compiled, over a file that was no package."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        run = build(settings_of(compose(TINY)))
        engine = Compiled(run.engine, steps_of(run, 0)[0])
        engine.program.path().parent.mkdir()
        engine.program.path().write_text("no package")
        engine.compile()
        assert not engine.program.cached
    return folder


@pytest.fixture
def compiled(package, monkeypatch):
    """In which the program of `run_of()` is found compiled."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(package))
    return package


@pytest.fixture
def no_compiler():
    with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        yield


@pytest.fixture(scope="session")
def together():
    def together(size, folder, *command):
        """Runs a command in several processes as torchrun does; the exit code and output of each."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started = []
        for rank in range(size):
            places = {**common, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": 1}
            environment = os.environ | {name: str(value) for name, value in places.items()}
            arguments = {"cwd": folder, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            started.append(subprocess.Popen([sys.executable, *command], text=True, **arguments))
        try:
            said = [process.communicate(timeout=100) for process in started]
        finally:
            for process in started:
                process.kill()
        return [(process.returncode, *texts) for process, texts in zip(started, said, strict=True)]

    return together
