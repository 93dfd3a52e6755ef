"""Program: a function of tensors as one straight list of torch calls, compiled to machine code where that pays.

It is traced by make_fx on tensors without data, so that what depends on data can't slip in as a constant, and compiled
by AOTInductor. Calling that costs 10 microseconds, of which torch.compile's guards alone would take 50: a small step.
https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from bptrain.train.pooling import ELEMENTWISE

Compute = Callable[[list[Tensor]], list[Tensor]]
VERSION = 2  # of what is made of a graph before it is compiled: code of another one is not used
COMPILING, LOADING = 8.0, 0.2  # seconds, about: to compile a short program, to load one that was compiled before


class Untraceable(Exception):
    """A function is no straight list of calls, or this machine can't compile it; says why in one line."""


OUTSIDE = tuple(str(Path(file).parent) + os.sep for file in (torch.__file__, os.__file__, __file__))  # no model's
DATA = (
    "data-dependent",
    "DataDependent",
    "DynamicOutputShape",
    "doesn't have storage",
    "unallocated storage",
    ".item()",
)
PLAINER = {  # what an error of torch's says, and what that means
    "setup_context": "its torch.autograd.Function has no setup_context",
    "would mutate a captured Tensor": "its forward pass changes a tensor that is no buffer, or does it by .data",
    "InvalidCxxCompiler": "there is no C++ compiler; install g++, or name one in CXX",
} | dict.fromkeys(DATA, "what it computes depends on values of its inputs")


class Program:
    """A traced function: takes tensors like its examples, which it may change in place, and returns a list of some.

    `seconds` is what tracing and compilation took; `cached` says whether machine code from an earlier run was used.
    """

    def __init__(self, function: Callable[..., list[Tensor]], examples: Sequence[Tensor]) -> None:
        start = time.perf_counter()
        self.examples = list(examples)
        self.graph = _traced(function, self.examples)
        self.run: Compute = lambda tensors: self.graph(*tensors)
        self.cached = self.compiled = False
        self.seconds = time.perf_counter() - start

    def compile(self) -> Program:
        """From now on it runs as machine code, for as many threads as torch has now. Untraceable if that fails."""
        start, path = time.perf_counter(), self.path()
        try:
            with _silent():
                device = self.examples[0].device
                found = _loaded(path, device)
                self.cached = found is not None
                if found is None:
                    _compile(self.graph, self.examples, path)
                    found = _loaded(path, device)
        except Exception as error:  # the compiler's own, of any kind
            raise Untraceable(reason(error)) from error
        if found is None:
            raise Untraceable(f"{path} can't be loaded")
        self.run = found
        self.seconds += time.perf_counter() - start
        self.compiled = True
        return self

    def expected(self) -> float:
        """Seconds that compiling it will take, about: measured on small networks, 14 to 18 for 400 to 700 calls, 54 for
        a GRU of 40 steps."""
        return LOADING if self.path().exists() else COMPILING * (1 + len(self.graph.graph.nodes) / 450)

    def path(self) -> Path:
        """Where its machine code lies, in torch's own cache: TORCHINDUCTOR_CACHE_DIR moves it."""
        from torch._inductor.runtime.cache_dir_utils import default_cache_dir

        digest = hashlib.sha256()
        for tensor in self.examples:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()} {tensor.device}\n".encode())
        machine = (torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
        chosen = (torch.are_deterministic_algorithms_enabled(), torch.backends.cuda.matmul.fp32_precision)
        digest.update(f"{VERSION} {machine} {chosen}\n{self.graph.code}".encode())
        for name, constant in sorted(_constants(self.graph).items()):
            digest.update(f"{name} {constant.dtype} {tuple(constant.shape)}\n".encode())
            digest.update(constant.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
        folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or default_cache_dir()
        return Path(folder).absolute() / "bptrain" / f"{digest.hexdigest()}.pt2"


def _traced(function: Callable[..., list[Tensor]], examples: list[Tensor]) -> fx.GraphModule:
    try:
        with _silent():
            graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*examples)
    except Exception as error:  # a module of the user's own can fail in any way
        raise Untraceable(reason(error) + place(error)) from error
    for node in graph.graph.nodes:
        if name := draws(node.target):
            raise Untraceable(f"it draws random numbers by {name}, which can't be handed to it")
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _compile(graph: fx.GraphModule, examples: list[Tensor], path: Path) -> None:
    """Writes the package as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if examples[0].device.type == "cpu" and any(node.target in ELEMENTWISE for node in graph.graph.nodes):
        graph = make_fx(graph, ELEMENTWISE, tracing_mode="fake", _allow_non_fake_inputs=True)(*examples)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, torch.no_grad():
        exported = torch.export.export(graph, tuple(examples), strict=False)
        made = torch._inductor.aoti_compile_and_package(
            exported,
            package_path=f"{folder}/program.pt2",
            inductor_configs={"aot_inductor.metadata": {"bptrain": path.stem}},
        )
        os.replace(made, path)


def _loaded(path: Path, device: torch.device) -> Compute | None:
    """What runs the machine code of a package; None where there is none, or it is torn, or another program's.

    Without locks between threads, which a recording as a CUDA graph would not survive, and a run does not need.
    """
    try:
        with ZipFile(path) as package:
            if package.testzip() is not None:
                return None
        index = -1 if device.index is None else device.index
        loader = torch._inductor.aoti_load_package(str(path), run_single_threaded=True, device_index=index).loader
    except (OSError, BadZipFile, RuntimeError):
        return None
    return loader.run if loader.get_metadata().get("bptrain") == path.stem else None


def _constants(graph: fx.GraphModule) -> dict[str, Tensor]:
    names = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    found = {str(name): getattr(graph, str(name)) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def draws(operator: Any) -> str:
    """The name of an operator that draws random numbers; nothing for others."""
    seeded = torch.Tag.nondeterministic_seeded in getattr(operator, "tags", ())
    return operator._schema.name.removeprefix("aten::").rstrip("_") if seeded else ""


def reason(error: Exception) -> str:
    """One line on why, in plain words where it is known."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f"{lines[0][:200] if lines else 'it failed'} ({type(error).__name__})"
    text = f"{type(error).__name__} {error}"
    return next((words for sign, words in PLAINER.items() if sign in text), said)


def place(error: Exception) -> str:
    """The line of the model where it failed, in brackets; nothing where none was running."""
    own = [at for at in traceback.extract_tb(error.__traceback__) if not at.filename.startswith(OUTSIDE)]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


@contextmanager
def _silent() -> Iterator[None]:
    """torch's own warnings and messages about its own insides are none of the user's."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
