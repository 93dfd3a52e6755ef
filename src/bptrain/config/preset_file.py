"""A YAML file that a config is composed from: what is wrong with it, said with the file's name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bptrain.config.component import GROUPS
from bptrain.config.read import NO_KEY
from bptrain.config.untrusted import dangers
from bptrain.errors import Problem

PACKAGE = "# @package _global_"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def faults(path: Path, preset: bool) -> list[Problem]:
    """What keeps Hydra from reading a file as it is meant; a `preset` changes any group.

    What is no YAML is left for Hydra to say.
    """
    if found := dangers(path):
        return found
    text = path.read_text(encoding="utf-8")
    try:
        value = yaml.load(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        return [no_yaml(error, path)]
    except Exception as error:  # what makes a value of a text with a tag, !!bool say, can fail in any way
        said = f": {error}" if isinstance(error, ValueError) else ", or is not what its tag says"
        return [Problem(str(path), f"holds a value that can't be read{said}.", "Write it in quotes.")]
    if not isinstance(value, dict | None):
        return [Problem(str(path), "is no mapping.", "Write key: value, one a line.")]
    if (key := _odd_key(value)) is not None:
        return [Problem(str(path), f"has the key {key[0]}, which is no text.", "Write it in quotes.")]
    found = _taken_in(path, (value or {}).get("defaults", []), preset)
    if preset and value and not re.match(r"\s*#\s*@package\s", text):
        found.append(Problem(f"{path}:1", "a preset says here where its keys go.", f"Line 1 must be {PACKAGE}"))
    return found


def no_yaml(error: yaml.MarkedYAMLError, path: Path | None = None) -> Problem:
    """Where a file, which the error may name, is no YAML."""
    mark = error.problem_mark or error.context_mark
    where = f"{path or mark.name}:{mark.line + 1}" if mark else str(path)
    return Problem(where, f"is no YAML: {error.problem}.", "Look at colons, indentation and quotes.")


def _odd_key(value: Any) -> tuple[Any] | None:
    """The first key that OmegaConf does not take: null, a date, bytes."""
    if isinstance(value, dict):
        odd = ((key,) for key in value if not isinstance(key, str | int | float))
        return next(odd, None) or _odd_key(list(value.values()))
    return next((found for of in value if (found := _odd_key(of))), None) if isinstance(value, list) else None


def left_over(problems: Sequence[Problem], paths: Sequence[Path]) -> list[Problem]:
    """The problems with the file whose key it is, where a part that was chosen has no such key and a preset sets it."""
    presets: dict[Path, Any] = {}
    if any(problem.what.startswith(NO_KEY) for problem in problems):
        presets = {path: yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER) for path in paths}
    return [_left_over(problem, presets) if problem.what.startswith(NO_KEY) else problem for problem in problems]


def _left_over(problem: Problem, presets: dict[Path, Any]) -> Problem:
    for path, value in presets.items():
        for key in problem.where.split("."):
            value = value.get(key, NO_KEY) if isinstance(value, dict) else NO_KEY
        if value != NO_KEY:
            what = f"{problem.what.removesuffix('.')}, and {path} sets it."
            return Problem(problem.where, what, f"Add ~{problem.where} to the command line. {problem.instead}")
    return problem


def _taken_in(path: Path, defaults: Any, preset: bool) -> list[Problem]:
    """What is wrong with a defaults list."""
    found = []
    if not isinstance(defaults, list) or not all(map(_is_item, defaults)):
        found.append(
            Problem(str(path), "has defaults that can't be read.", "Write '- NAME' or '- GROUP: NAME' a line.")
        )
    for item in defaults if not found else ():
        if item == path.stem:
            found.append(Problem(str(path), "takes itself in.", f"Remove '- {item}' from its defaults."))
        for key, option in item.items() if preset and isinstance(item, dict) else ():
            group = str(key).removeprefix("override ").strip().lstrip("/")
            if group in GROUPS and key != f"override /{group}":
                what = f"its defaults have '- {key}: {option}', and {group} is chosen already."
                found.append(Problem(str(path), what, f"Write '- override /{group}: {option}'."))
    return found


def _is_item(item: Any) -> bool:
    """Whether an item of a defaults list is a name, or a group with one, several or none."""
    if isinstance(item, dict) and len(item) == 1:
        ((group, option),) = item.items()
        names = option if isinstance(option, list) else [option]
        return isinstance(group, str) and all(isinstance(name, str | None) for name in names)
    return isinstance(item, str) and item != ""
