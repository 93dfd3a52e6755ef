"""Words of a command line in Hydra's grammar, and what is said of those that are none."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Sweep
from hydra.errors import HydraException

from bptrain.config.read import show
from bptrain.config.untrusted import DEEPEST
from bptrain.errors import Problem

NO_NAME = "can't be a key."
LONGEST, COMMA = 20_000, 20  # characters of all words together, and how many one comma counts for: Hydra's grammar
# takes time with each, and the more the more there are
PART = r"(?:[A-Za-z_$][\w$-]*|\d+)"
KEY = re.compile(rf"(\+\+?|~)?(?!\d){PART}([./]{PART})*(@[\w$.-]*)?", re.ASCII)


def parse(words: list[str], problems: list[Problem]) -> list[Override]:
    """Overrides in Hydra's grammar; a word that is none is left out and added to `problems`."""
    parser, parsed, left = OverridesParser.create(), list[Override](), LONGEST
    for word in words:
        left -= (size := len(word) + COMMA * word.count(","))
        if left < 0:
            left += size
            what = "makes the command line too long."
            problems.append(Problem(show(word), what, "Put long values into a file for --config-dir."))
            continue
        brackets = max(accumulate((c in "[{(") - (c in "]})") for c in word), default=0)
        if max(brackets, word.partition("=")[0].count(".")) > DEEPEST:  # its parser, and OmegaConf, call themselves
            what = f"has more than {DEEPEST} levels of brackets or dots."
            problems.append(Problem(show(word), what, "Put long values into a file for --config-dir."))
            continue
        try:
            override = parser.parse_override(word)
        except (HydraException, ValueError, OverflowError) as error:  # the last two for numbers that are too long
            problems.append(_unreadable(word, error))
            continue
        if not override.key_or_group:
            problems.append(Problem(f"'{word}'", "names no key.", "Write key=value."))
        elif "hydra" in (re.split("[./]", place)[0] for place in (override.key_or_group, override.package or "")):
            problems.append(Problem(f"'{word}'", "bptrain has no hydra node.", instead_of(override.key_or_group)))
        elif not override.is_sweep_override() and _sweeps(override.value()):
            cure = "With -m, the values themselves are several: key=[1,2],[3,4]."
            problems.append(Problem(f"'{word}'", "has several values inside of one.", cure))
        else:
            parsed.append(override)
    return parsed


def _sweeps(value: Any) -> bool:
    """Whether a call such as range(3) stands inside of a value."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, (Sweep, Glob)) or any(map(_sweeps, inside))


def _unreadable(word: str, error: Exception) -> Problem:
    """What Hydra's grammar stumbles on in a word, and the quoted form that it takes."""
    if not isinstance(error, HydraException):
        return Problem(show(word), "holds a number with too many digits.", "Write it with an exponent, such as 1e9.")
    key, equals, value = word.partition("=")
    if not equals:
        return Problem(f"'{word}'", "is no override.", "Write key=value.")
    if not KEY.fullmatch(key):
        cure = "Write a list as a whole: key=[1,2]." if "[" in key else "Write key=value, such as fit.epochs=3."
        return Problem(f"'{key}'", NO_NAME, cure)
    if found := re.match(r"\w+ while evaluating '(.*?)': (.*)", str(error)):
        what = f"{found[1]} has no value: {found[2].rstrip('.')}."
        return Problem(f"'{word}'", what, f"For a text, write {_quoted(key, value)}.")
    found = re.search(r"(?:error at:|input) '(.*?)'(?: expecting|\n|$)", str(error), re.DOTALL)
    if not found or found[1] == "<EOF>" or value.count("[") != value.count("]") or value.count("{") != value.count("}"):
        return Problem(f"'{word}'", "is cut short: a bracket or a quote is not closed.", "Write key=value.")
    return Problem(f"'{word}'", f"can't be read from '{found[1]}' on.", f"Write {_quoted(key, value)}.")


def _quoted(key: str, value: str) -> str:
    escaped = value.replace("'", "\\'")
    return f"\"{key}='{escaped}'\""


def or_quoted(text: str) -> str:
    return f", or write {_quoted(*text.split('=', 1))} for one value" if "=" in text else ""


def instead_of(key: str) -> str:
    known = {
        "hydra.run.dir": "The run directory is outputs/<name>/<date>_<time>: set name=.",
        "hydra.sweep.dir": "A sweep's directory is outputs/<name>/sweeps/<date>_<time>: set name=.",
        "hydra.searchpath": "Use --config-dir DIR.",
        "hydra.verbose": "Set BPTRAIN_TRACEBACK=1 to see where an error comes from.",
    }
    return known.get(key, "Sweeps are planned with -m and run by bptrain itself.")
