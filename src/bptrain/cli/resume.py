"""`bptrain resume RUN`: goes on exactly where a run has ended."""

from __future__ import annotations

from bptrain.cli.arguments import Arguments, run_of
from bptrain.train.torch_import import import_torch


def run(arguments: Arguments) -> int:
    from bptrain.runs.directory import RunDirectory

    directory = RunDirectory(run_of(arguments))

    import_torch()
    from bptrain.sweep.job import resume

    resume(directory, arguments.words[1:], arguments.quiet)
    return 0
