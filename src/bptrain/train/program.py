"""Program: a function of tensors as one straight list of torch calls, compiled to machine code where that pays.

It is traced by make_fx on tensors without data, so that what depends on data can't slip in as a constant, and compiled
by AOTInductor. Calling that costs 10 microseconds, of which torch.compile's guards alone would take 50: a small step.
https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx


class Untraceable(Exception):
    """A function is no straight list of calls, or this machine can't compile it; says why in one line."""


class Program:
    """A traced function: takes tensors like its examples, which it may change in place, and returns a list of some.

    `seconds` is what tracing and compilation took; `cached` says whether machine code from an earlier run was used.
    """

    def __init__(self, function: Callable[..., list[Tensor]], examples: Sequence[Tensor]) -> None:
        start = time.perf_counter()
        self.examples = list(examples)
        self.graph = _traced(function, self.examples)
        self.run: Callable[[list[Tensor]], list[Tensor]] = lambda tensors: self.graph(*tensors)
        self.cached = self.compiled = False
        self.seconds = time.perf_counter() - start

    def compile(self) -> Program:
        """From now on it runs as machine code, for as many threads as torch has now. Untraceable if that fails."""
        start, path = time.perf_counter(), self.path()
        self.cached = path.exists()
        try:
            if not self.cached:
                _compile(self.graph, self.examples, path)
            with _silent():
                self.run = torch._inductor.aoti_load_package(str(path)).loader.run
        except Exception as error:  # the compiler's own, of any kind
            raise Untraceable(_reason(error)) from error
        self.seconds += time.perf_counter() - start
        self.compiled = True
        return self

    def path(self) -> Path:
        """Where its machine code lies, in torch's own cache: TORCHINDUCTOR_CACHE_DIR moves it."""
        from torch._inductor.runtime.cache_dir_utils import cache_dir

        digest = hashlib.sha256()
        for tensor in self.examples:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()} {tensor.device}\n".encode())
        capability = torch.backends.cpu.get_cpu_capability()
        digest.update(f"{torch.__version__} {capability} {torch.get_num_threads()}\n{self.graph.code}".encode())
        for name, constant in sorted(_constants(self.graph).items()):
            digest.update(name.encode() + constant.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return Path(cache_dir()) / "bptrain" / f"{digest.hexdigest()}.pt2"


def _traced(function: Callable[..., list[Tensor]], examples: list[Tensor]) -> fx.GraphModule:
    try:
        with _silent():
            graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*examples)
    except Exception as error:  # a module of the user's own can fail in any way
        raise Untraceable(_reason(error)) from error
    for node in graph.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise Untraceable(f"{node.target} draws random numbers inside the model")
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _compile(graph: fx.GraphModule, examples: list[Tensor], path: Path) -> None:
    """Writes the package as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, _silent(), torch.no_grad():
        exported = torch.export.export(graph, tuple(examples), strict=False)
        made = torch._inductor.aoti_compile_and_package(exported, package_path=f"{folder}/program.pt2")
        os.replace(made, path)


def _constants(graph: fx.GraphModule) -> dict[str, Tensor]:
    names = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    found = {str(name): getattr(graph, str(name)) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def _reason(error: Exception) -> str:
    """The first line that says something."""
    lines: list[Any] = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{lines[0][:200] if lines else 'it failed'} ({type(error).__name__})"


def _silent() -> Any:
    """torch's own warnings about its own insides are none of the user's."""
    return warnings.catch_warnings(action="ignore")
