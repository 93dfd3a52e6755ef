"""`bptrain reproduce RUN`: makes a run again from its lock, and says whether it is the same to the bit."""

from __future__ import annotations

import sys

from bptrain.cli.arguments import Arguments, run_of
from bptrain.train.torch_import import import_torch


def run(arguments: Arguments) -> int:
    from bptrain.config.compose import settings_of
    from bptrain.config.locked import locked
    from bptrain.errors import GradientsWrong, printable, shortened
    from bptrain.runs.directory import RunDirectory
    from bptrain.runs.lock import changes, read_lock

    before = RunDirectory(run_of(arguments))
    lock = read_lock(before)
    config, _ = locked(lock, arguments.words[1:])
    settings = settings_of(config)

    import_torch()
    from bptrain.runs.lock import lock as lock_of
    from bptrain.runs.reproduce import difference
    from bptrain.sweep.job import train
    from bptrain.train.run import build

    made = build(settings)
    now = lock_of(config, settings, made.dataset.fingerprint, str(made.device))
    for text in changes(lock, now).values():
        print(printable(f"bptrain: {text} Other bits are likely."), file=sys.stderr)
    if lock.get("engine", "eager") != "eager" or "distributed" in lock:
        how = "by several processes" if "distributed" in lock else f"by the engine {shortened(str(lock['engine']), 20)}"
        print(printable(f"bptrain: this run was trained {how}: rounding may differ."), file=sys.stderr)
    directory = RunDirectory.create(settings.name)
    train(made, config, directory.path, arguments.quiet)
    if found := difference(before, directory):
        raise GradientsWrong(f"{directory.path} differs from {before.path}. {found}")
    if not arguments.quiet:
        print(printable(f"identical  {directory.path} is {before.path} to the bit"))
    return 0
