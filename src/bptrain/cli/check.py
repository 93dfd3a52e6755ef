"""`bptrain check`: verifies the gradients of the composed network on its own data; nothing is written."""

from __future__ import annotations

from bptrain.cli.arguments import Arguments


def run(arguments: Arguments) -> int:
    from bptrain.config.compose import compose, settings_of

    config = compose(arguments.words, arguments.config_dir, arguments.config_name)
    if arguments.cfg:
        print(config.show(arguments.resolve), end="")
        return 0
    settings = settings_of(config)

    from bptrain.errors import GradientsWrong
    from bptrain.report.console import Console
    from bptrain.train.fit import check_batches, not_finite
    from bptrain.train.run import build

    run = build(settings)
    console = Console(quiet=arguments.quiet)
    console.header(run)
    wrong = []
    for checked in check_batches(run, settings.check.steps):
        if not checked.report.finite:
            raise not_finite(0)
        console.calls(checked)
        if not checked.report.ok:
            wrong.append(checked.report.summary())
    if wrong:
        raise GradientsWrong("\n".join(wrong))
    return 0
