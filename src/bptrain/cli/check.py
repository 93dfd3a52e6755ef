"""`bptrain check`: trains some steps of the composed run in memory and checks each; nothing is written."""

from __future__ import annotations

from dataclasses import replace

from bptrain.cli.arguments import Arguments
from bptrain.train.torch_import import import_torch

KEYS = ("steps", "every", "rows", "strict")


def run(arguments: Arguments) -> int:
    from bptrain.config.compose import compose, settings_of

    config = compose(spelled_out(arguments.words), arguments.config_dir, arguments.config_name)
    if arguments.cfg:
        print(config.show(arguments.resolve), end="")
        return 0
    settings = settings_of(config)
    check = replace(settings.check, enabled=True, every=settings.check.every or 1)
    settings = replace(settings, check=check)

    import_torch()
    from bptrain.report.console import Console
    from bptrain.train.fit import fit
    from bptrain.train.record import Checked, Stepped
    from bptrain.train.run import build

    run = build(settings)
    console = Console(quiet=arguments.quiet)
    console.header(run)
    for record in fit(run):
        match record:
            case Checked(step=0):
                console.tables(record)
            case Checked():
                console.verdict(record)
            case Stepped() if record.step == check.steps:
                break
    if run.state.step < check.steps:
        console.terminal.print(f"The run ends after {run.state.step} of the {check.steps} steps.")
    return 0


def spelled_out(words: list[str]) -> list[str]:
    """The overrides with `check.` in front of the keys of that group, which this verb may leave out: steps=20."""
    return [f"check.{word}" if word.partition("=")[0] in KEYS else word for word in words]
