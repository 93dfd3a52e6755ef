"""Words of a command line in Hydra's grammar, and what is said of those that are none."""

from __future__ import annotations

import re
from itertools import accumulate

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from bptrain.config.read import show
from bptrain.config.untrusted import DEEPEST
from bptrain.errors import Problem


def parse(words: list[str], problems: list[Problem]) -> list[Override]:
    """Overrides in Hydra's grammar; a word that is none is left out and added to `problems`."""
    parser, parsed = OverridesParser.create(), []
    for word in words:
        if max(accumulate((c in "[{(") - (c in "]})") for c in word), default=0) > DEEPEST:  # its parser calls itself
            what = f"has more than {DEEPEST} levels of brackets."
            problems.append(Problem(show(word), what, "Put long values into a file for --config-dir."))
            continue
        try:
            override = parser.parse_override(word)
        except (HydraException, ValueError, OverflowError) as error:  # the last two for numbers that are too long
            problems.append(_unreadable(word, error))
            continue
        if not override.key_or_group:
            problems.append(Problem(f"'{word}'", "names no key.", "Write key=value."))
        elif override.key_or_group.split(".")[0].split("/")[0] == "hydra":
            problems.append(Problem(f"'{word}'", "bptrain has no hydra node.", instead_of(override.key_or_group)))
        else:
            parsed.append(override)
    return parsed


def _unreadable(word: str, error: Exception) -> Problem:
    """What Hydra's grammar stumbles on in a word, and the quoted form that it takes."""
    if not isinstance(error, HydraException):
        return Problem(show(word), "holds a number with too many digits.", "Write it with an exponent, such as 1e9.")
    key, equals, value = word.partition("=")
    found = re.search(r"(?:error at:|input) '(.*?)'(?: expecting|\n|$)", str(error))
    if not equals:
        return Problem(f"'{word}'", one_line(error), "Write key=value.")
    if not found or found[1] == "<EOF>" or value.count("[") != value.count("]") or value.count("{") != value.count("}"):
        what = "is cut short: a bracket or a quote is not closed." if found else one_line(error)
        return Problem(f"'{word}'", what, "Write key=value.")
    return Problem(f"'{word}'", f"can't be read from '{found[1]}' on.", f"Write {_quoted(key, value)}.")


def _quoted(key: str, value: str) -> str:
    escaped = value.replace("'", "\\'")
    return f"\"{key}='{escaped}'\""


def or_quoted(text: str) -> str:
    return f", or write {_quoted(*text.split('=', 1))} for one value" if "=" in text else ""


def one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [
        line
        for line in lines
        if not re.match(r"(full_key|object_type|See https?://|Config search path|provider=)", line)
    ]
    text = " ".join(kept) or type(error).__name__
    return text if text.endswith((".", "?", "!")) else text + "."


def instead_of(key: str) -> str:
    known = {
        "hydra.run.dir": "The run directory is outputs/<name>/<date>_<time>: set name=.",
        "hydra.sweep.dir": "A sweep's directory is outputs/<name>/sweeps/<date>_<time>: set name=.",
        "hydra.searchpath": "Use --config-dir DIR.",
        "hydra.verbose": "Set BPTRAIN_TRACEBACK=1 to see where an error comes from.",
    }
    return known.get(key, "Sweeps are planned with -m and run by bptrain itself.")
