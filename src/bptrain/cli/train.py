"""`bptrain train`: one run, or with -m one for each combination of values."""

from __future__ import annotations

from bptrain.cli.arguments import Arguments
from bptrain.train.launch import launched, told_once
from bptrain.train.torch_import import import_torch


def run(arguments: Arguments) -> int:
    from bptrain.config.compose import compose, settings_of

    if arguments.multirun:
        return _sweep(arguments)
    with told_once():
        config = compose(arguments.words, arguments.config_dir, arguments.config_name)
        if arguments.cfg:
            launch = launched()
            if launch is None or not launch.rank:
                print(config.show(arguments.resolve), end="")
            return 0
        settings = settings_of(config)

    import_torch()
    from bptrain.sweep.job import train
    from bptrain.train.distributed import connected
    from bptrain.train.run import build

    with connected(settings.device):
        train(build(settings), config, quiet=arguments.quiet)
    return 0


def _sweep(arguments: Arguments) -> int:
    from bptrain.sweep.plan import plan
    from bptrain.sweep.resume import request_of

    trials = plan(arguments.words, arguments.config_dir, arguments.config_name)
    if arguments.cfg:
        for trial in trials:
            print(f"# {' '.join(trial.words)}\n{trial.config.show(arguments.resolve)}")
        return 0

    from bptrain.sweep.execute import execute

    return execute(trials, arguments.quiet, request_of(arguments))
