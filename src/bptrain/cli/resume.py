"""`bptrain resume RUN`: goes on exactly where a run has ended."""

from __future__ import annotations

from bptrain.cli.arguments import Arguments, run_of
from bptrain.train.torch_import import import_torch


def run(arguments: Arguments) -> int:
    from bptrain.runs.directory import RunDirectory

    directory = RunDirectory(run_of(arguments))
    if (directory.path / "sweep.json").exists():
        from bptrain.sweep.resume import resume as resume_sweep

        return resume_sweep(directory.path, arguments.words[1:], arguments.quiet)

    import_torch()
    from bptrain.sweep.job import resume

    resume(directory, arguments.words[1:], arguments.quiet)
    return 0
