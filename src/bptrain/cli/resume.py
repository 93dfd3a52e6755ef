"""`bptrain resume RUN`: goes on exactly where a run has ended."""

from __future__ import annotations

from bptrain.cli.arguments import Arguments, run_of
from bptrain.errors import Problem, RequestError
from bptrain.train.launch import launched, told_once
from bptrain.train.torch_import import import_torch


def run(arguments: Arguments) -> int:
    from bptrain.config.compose import settings_of
    from bptrain.config.locked import locked
    from bptrain.runs.directory import RunDirectory
    from bptrain.runs.lock import read_lock

    words = arguments.words[1:]
    with told_once():
        directory = RunDirectory(run_of(arguments))
        sweep = (directory.path / "sweep.json").exists()
        if sweep and launched() is not None:
            what = "is a sweep, and torchrun starts processes that train one run together."
            raise RequestError(Problem(str(directory.path), what, "Start bptrain resume by itself."))
    if sweep:
        from bptrain.sweep.resume import resume as resume_sweep

        return resume_sweep(directory.path, words, arguments.quiet)
    with told_once():
        device = "cpu" if launched() is None else settings_of(locked(read_lock(directory), words)[0]).device

    import_torch()
    from bptrain.sweep.job import resume
    from bptrain.train.distributed import connected

    with connected(device):
        resume(directory, words, arguments.quiet)
    return 0
