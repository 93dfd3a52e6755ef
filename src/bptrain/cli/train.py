"""`bptrain train`: one run, or with -m one for each combination of values."""

from __future__ import annotations

import importlib

from bptrain.cli.arguments import Arguments
from bptrain.cli.torch_import import import_torch


def run(arguments: Arguments) -> int:
    from bptrain.config.compose import compose, settings_of

    if arguments.multirun:
        return _sweep(arguments)
    config = compose(arguments.words, arguments.config_dir, arguments.config_name)
    if arguments.cfg:
        print(config.show(arguments.resolve), end="")
        return 0
    settings = settings_of(config)

    import_torch()
    from bptrain.sweep.job import train

    train(config, settings, quiet=arguments.quiet)
    return 0


def _sweep(arguments: Arguments) -> int:
    from bptrain.sweep.plan import plan

    trials = plan(arguments.words, arguments.config_dir, arguments.config_name)
    if arguments.cfg:
        for trial in trials:
            print(f"# {' '.join(trial.words)}\n{trial.config.show(arguments.resolve)}")
        return 0

    import_torch()
    executor = importlib.import_module(f"bptrain.sweep.{trials[0].settings.sweep.executor}")
    return int(executor.run_all(trials, quiet=arguments.quiet))
