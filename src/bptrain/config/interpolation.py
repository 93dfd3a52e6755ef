"""Interpolations, `${key}`: what they may be, before any is resolved.

Only a key of the config by its full name or relative to its place. Resolvers (`${oc.env:HOME}`) read what is outside of
the config, and what refers to what refers to more can become a text of any length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bptrain.config.untrusted import CALLED, CALLS, INSTEAD
from bptrain.errors import Problem

LONGEST, DEEPEST = 1_000_000, 8  # characters of the resolved config; interpolations one after the other
REFERENCE = re.compile(r"\$\{(\.*)([A-Za-z_]\w*(?:\.\w+|\[\w+\])*)\}")
Path = tuple[str, ...]


def forbidden(config: Any) -> list[Problem]:
    """What a composed config, as plain data without anything resolved, must not hold."""
    problems: dict[str, Problem] = {}
    for path, value in _leaves(config, ()):
        where = ".".join(path)
        if call := CALLS.intersection(path):
            problems.setdefault("call", Problem(where, f"{min(call)} {CALLED}", INSTEAD))
        if not isinstance(value, str) or "${" not in value:
            continue
        rest = REFERENCE.sub("", value)
        if "${" in rest:
            what = f"'{value[:60]}' is more than the name of a key in braces."
            if found := re.search(r"\$\{\s*([\w.]+)\s*:", rest):
                what = f"'{value[:60]}' uses the resolver {found[1]}, and bptrain has none."
            problems[where] = Problem(where, what, "Write ${KEY} for the value of a key, or the value itself.")
    if not problems:
        try:
            _size(config, (), config, {}, 0)
        except _TooMuch as error:
            where, what = error.args
            return [Problem(where, what, "Write the value itself.")]
    return list(problems.values())


class _TooMuch(Exception):
    """Where it becomes too much, and what does."""


def _size(value: Any, path: Path, config: Any, known: dict[Path, int], depth: int) -> int:
    """Characters of a value once it is resolved."""
    if path in known:
        if known[path] < 0:
            raise _TooMuch(".".join(path), "refers to itself.")
        return known[path]
    if depth > DEEPEST:
        raise _TooMuch(".".join(path), f"is more than {DEEPEST} interpolations away from a value.")
    known[path] = -1
    size = 1
    if isinstance(value, (dict, list)):
        size += sum(_size(of, (*path, key), config, known, depth) for key, of in _items(value))
    elif isinstance(value, str):
        size += len(value)
        for dots, name in REFERENCE.findall(value):
            base = path[: len(path) - len(dots)] if dots else ()
            target = (*base, *re.findall(r"\w+", name))
            size += _size(_at(config, target, path), target, config, known, depth + 1)
    if size > LONGEST:
        raise _TooMuch(".".join(path), f"has more than {LONGEST:,} characters when it is resolved.")
    known[path] = size
    return size


def _at(config: Any, path: Path, by: Path) -> Any:
    """The value there; None where there is none, which OmegaConf says."""
    for key in path:
        if isinstance(config, str) and "${" in config:
            raise _TooMuch(".".join(by), "refers to a key of an interpolation.")
        config = dict(_items(config)).get(key)
    return config


def _items(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(str(key), of) for key, of in value.items()]
    return [(str(i), of) for i, of in enumerate(value)] if isinstance(value, list) else []


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    yield path, value
    for key, of in _items(value):
        yield from _leaves(of, (*path, key))
