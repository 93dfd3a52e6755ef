"""`bptrain explain`: the first step of the composed run told call by call; nothing is written."""

from __future__ import annotations

from bptrain.cli.arguments import Arguments
from bptrain.errors import Problem, RequestError
from bptrain.train.torch_import import import_torch

ANSWERS = {"true": True, "false": False}


def run(arguments: Arguments) -> int:
    from bptrain.config.compose import compose, settings_of

    own = {"input": "false", "rows": ""}
    words = []
    for word in arguments.words:
        key, _, said = word.partition("=")
        if key in own:
            own[key] = said
        else:
            words.append(word)
    picture, rows = _answer(own["input"]), _number(own["rows"])
    config = compose(words, arguments.config_dir, arguments.config_name)
    if arguments.cfg:
        print(config.show(arguments.resolve), end="")
        return 0
    settings = settings_of(config)

    import_torch()
    from bptrain.report.explanation import show
    from bptrain.train.explanation import explain
    from bptrain.train.run import build

    show(explain(build(settings), rows), arguments.format or "text", picture)
    return 0


def _answer(said: str) -> bool:
    if said.lower() not in ANSWERS:
        raise RequestError(Problem("input", f"is '{said}', neither true nor false.", "Write input=true."))
    return ANSWERS[said.lower()]


def _number(said: str) -> int | None:
    if said and not (said.isdecimal() and said.isascii() and int(said) > 0):
        raise RequestError(Problem("rows", f"is '{said}', no number of rows.", "Write rows=2."))
    return int(said) if said else None
