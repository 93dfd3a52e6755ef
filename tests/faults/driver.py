"""What the processes do that are killed: train a run, or go on with it; and how two runs are compared."""

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from disks import Counting

from bptrain import files
from bptrain.cli.main import main
from bptrain.config.compose import compose, settings_of
from bptrain.errors import RunFailed
from bptrain.runs.directory import RunDirectory
from bptrain.sweep import job
from bptrain.train.run import build

IRIS = ["data=iris", "model.sizes=[5]", "fit.batch_size=16", "fit.epochs=12", "scheduler=cosine"]
DIGITS = ["data=digits", "fit.batch_size=120", "fit.epochs=2"]
WIDTHS = ["model.width=8", "model.heads=2", "model.layers=1"]
KINDS = {
    "mlp": [*IRIS, "model.dropout=0.2", "fit.patience=9"],
    "cnn": [*DIGITS, "model=cnn", "model.channels=[3]", "model.norm=batch"],
    "lstm": [*DIGITS, "model=lstm", "model.hidden=5", "optimizer=rmsprop"],
    "gru": [*DIGITS, "model=gru", "model.hidden=5", "model.layers=2", "model.dropout=0.2"],
    "transformer": [*DIGITS, "model=transformer", *WIDTHS, "model.dropout=0.1"],
    "autoencoder": [*DIGITS, "model=autoencoder", "model.sizes=[9]", "loss=mse"],
    "lbfgs": [*IRIS, "optimizer=lbfgs"],
}


def train(kind, path, every=3):
    """Trains a run in a directory; one that is there goes on."""
    sys.stdout = sys.stderr = io.StringIO()
    path = Path(path)
    if (path / "lock.json").exists():
        job.resume(RunDirectory(path), quiet=True)
        return
    shutil.rmtree(path, ignore_errors=True)  # killed before its lock was written
    config = compose([*KINDS[kind], "name=tiny", f"fit.checkpoint.every={every}", "check.enabled=false"])
    job.train(build(settings_of(config)), config, path, quiet=True)


def train_until(kind, path, operation):
    """The same, but killed at the so manieth change of what is on disk."""

    class Killing(Counting):
        def before(self, name, arguments):
            if self.count == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    files.disk = Killing()
    train(kind, path, every=30)


def holds(path, seconds):
    """Holds a run directory for a while; exits with 7 where another process does."""
    try:
        with RunDirectory(Path(path)).held():
            time.sleep(seconds)
    except RunFailed as error:
        sys.exit(7 if "is being written by process" in str(error) else 8)


def command(words, folder):
    """Runs a command line."""
    os.chdir(folder)
    with open("err", "w") as sys.stderr:
        sys.stdout = io.StringIO()
        sys.exit(main(words))


def starved(words, folder):
    """The same, but that after the first checkpoint the process gets no more memory."""

    taken = []

    def starve():
        while not list(Path(folder).glob("outputs/*/*/checkpoints/last")):
            time.sleep(0.01)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        with contextlib.suppress(MemoryError):
            while True:  # what has been freed is taken too
                taken.append(bytearray(2**16))

    threading.Thread(target=starve, daemon=True).start()
    command(words, folder)


def left(run):
    """What a run leaves, but for times."""
    run = Path(run)
    tensors = {path.name: path.read_bytes() for path in (run / "checkpoints" / "last").iterdir()}
    state = json.loads(tensors.pop("state.json"))
    tensors["best"] = (run / "checkpoints" / "best" / "model.safetensors").read_bytes()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    for value in (summary, *lines):
        for key in ("seconds", "samples_per_second"):
            value.pop(key, None)
    del state["progress"], state["checksums"]
    return tensors, state, lines, summary


def waits(seed):
    """Seconds that processes live, at random."""
    draw = random.Random(seed)
    while True:
        yield draw.uniform(0.02, 0.4)


# What the first run of a process loads is loaded before it is forked.
for words in (IRIS, DIGITS):
    build(settings_of(compose(words)))
