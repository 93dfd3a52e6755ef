"""Start-up: what is loaded before it is needed, and what it leaves behind."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        "runs",
        "--cfg job",
        "fit.epohs=1",
        "fit.epochs=abc optimizer.lr=-1",
        "model=mpl",
        "model.name=mpl",
        "experiment=iris_mpl",
        "check optimizer.lr=-1",
        "explain seed=-1",
        "-m optimizer.lr=-1 seed=0,1",
        "-m model=mlp,mpl",
    ],
)
def test_no_torch_is_loaded_without_need(command):
    code = f"import sys; sys.argv[1:] = {command.split()!r}; import bptrain.cli.main as m\n"
    code += "try: m.main()\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'numpy', 'scipy', 'sklearn', 'polars'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_garbage_is_collected_after_torch_is_loaded():
    code = (
        "import gc, weakref\n"
        "from bptrain.train.torch_import import import_torch\n"
        "import_torch()\n"
        "import torch\n"
        "module = torch.nn.Linear(2, 3)\n"
        "module.itself, gone = [module], weakref.ref(module)\n"
        "del module\n"
        "assert gc.isenabled() and gone() is not None\n"
        "gc.collect()\n"
        "assert gone() is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_freed_memory_is_kept_for_the_next_step():
    """Pages of 64 MB that were freed are not new ones when they are taken again."""
    code = """
import resource
from bptrain.train.torch_import import import_torch
import_torch()
import torch
def faults():
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = [faults() for _ in range(20)][-1]  # where it lies in the end
print(faults() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2**24 * 4 / 4096 / 2
