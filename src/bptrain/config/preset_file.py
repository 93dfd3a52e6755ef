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


def faults(path: Path, preset: bool) -> list[Problem]:
    """What keeps Hydra from reading a file as it is meant; a `preset` changes any group.

    What is no YAML is left for Hydra to say.
    """
    if found := dangers(path):
        return found
    try:
        text = path.read_text(encoding="utf-8")
        value = yaml.safe_load(text)
    except (ValueError, TypeError, yaml.YAMLError):
        return []
    if not isinstance(value, dict | None):
        return [Problem(str(path), "is no mapping.", "Write key: value, one a line.")]
    defaults = (value or {}).get("defaults")
    found = _taken_in(path, defaults if isinstance(defaults, list) else [], preset)
    if preset and value and not re.match(r"\s*#\s*@package\s", text):
        found.append(Problem(f"{path}:1", "a preset says here where its keys go.", f"Line 1 must be {PACKAGE}"))
    return found


def left_over(problem: Problem, paths: Sequence[Path]) -> Problem:
    """The problem with the file whose key it is, where a part that was chosen has no such key and a preset sets it."""
    for path in paths if problem.what.startswith(NO_KEY) else ():
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key in problem.where.split("."):
            value = value.get(key, NO_KEY) if isinstance(value, dict) else NO_KEY
        if value != NO_KEY:
            what = f"{problem.what.removesuffix('.')}, and {path} sets it."
            return Problem(problem.where, what, f"Add ~{problem.where} to the command line. {problem.instead}")
    return problem


def _taken_in(path: Path, defaults: list[Any], preset: bool) -> list[Problem]:
    """What is wrong with a defaults list."""
    found = []
    for item in defaults:
        if item == path.stem:
            found.append(Problem(str(path), "takes itself in.", f"Remove '- {item}' from its defaults."))
        for key, option in item.items() if preset and isinstance(item, dict) else ():
            group = str(key).removeprefix("override ").strip().lstrip("/")
            if group in GROUPS and key != f"override /{group}":
                what = f"its defaults have '- {key}: {option}', and {group} is chosen already."
                found.append(Problem(str(path), what, f"Write '- override /{group}: {option}'."))
    return found
