"""Reads a plain mapping into dataclasses of settings: types, ranges, names; collects every problem."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
import typing
from typing import Any, Literal, Union, get_args, get_origin

from bptrain.config.component import Component, component, components
from bptrain.errors import Problem, RequestError, did_you_mean

INVALID = object()
MISSING = "is missing."
NO_KEY = "is not a key of"
LARGEST = 2**31 - 1  # of integers whose field names no maximum


def read(cls: type, value: Any, where: str, problems: list[Problem]) -> Any:
    """An instance of the dataclass `cls` from a mapping; INVALID after adding to `problems`."""
    if not isinstance(value, dict):
        problems.append(Problem(where, f"must be a group of settings, not {show(value)}."))
        return INVALID
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = _hints(cls)
    named = isinstance(cls, type) and issubclass(cls, Component)
    owner = f"{cls.group}={cls.name}" if named else (where or "the config")  # type: ignore[attr-defined]
    known = [*fields, *(["name"] if named else [])]
    before = len(problems)
    for key in value:
        if key not in known:
            problems.append(Problem(join(where, key), f"{NO_KEY} {owner}.", did_you_mean(str(key), known)))
    settings = {}
    for name, field in fields.items():
        if name in value and value[name] != "???":  # how Hydra writes a value that must be given
            found = convert(hints[name], value[name], join(where, name), problems, field.metadata)
            if found is not INVALID:
                settings[name] = found
        elif name in value or (field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING):
            problems.append(Problem(join(where, name), MISSING, _sentence(field.metadata.get("help", ""))))
    if len(problems) > before:
        return INVALID
    try:
        return cls(**settings)
    except RequestError as error:  # settings that are right each but not together
        problems.extend(error.problems)
        return INVALID


def convert(hint: Any, value: Any, where: str, problems: list[Problem], metadata: Any) -> Any:
    """`value` as the type `hint` says, within the field's range; INVALID after adding to `problems`."""
    result = _match(hint, value, where, problems, metadata)
    if result is not _NO_MATCH:
        return result
    problems.append(Problem(where, f"must be {describe(hint, metadata)}, not {show(value)}.", _choice(hint, value)))
    return INVALID


_NO_MATCH = object()


def _match(hint: Any, value: Any, where: str, problems: list[Problem], metadata: Any) -> Any:
    """`value` as `hint`, INVALID when a problem was added already, _NO_MATCH when the type does not fit."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        for option in get_args(hint):
            found = _match(option, value, where, problems, metadata)
            if found is not _NO_MATCH:
                return found
        return _NO_MATCH
    if origin is Literal:
        return value if any(value == choice and type(value) is type(choice) for choice in get_args(hint)) else _NO_MATCH
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return _NO_MATCH
        found = [_match(get_args(hint)[0], item, where, problems, metadata) for item in value]
        if any(item is _NO_MATCH for item in found):
            return _NO_MATCH
        return INVALID if any(item is INVALID for item in found) else tuple(found)
    if origin is dict:
        if not isinstance(value, dict):
            return _NO_MATCH
        faults = _not_plain(value, where)
        problems += faults
        return INVALID if faults else value
    if isinstance(hint, type) and issubclass(hint, Component):
        return read_component(hint.group, value, where, problems)
    if dataclasses.is_dataclass(hint):
        return read(hint, value, where, problems)  # type: ignore[arg-type]
    if hint is type(None):
        return None if value is None else _NO_MATCH
    if not isinstance(value, (int, float) if hint is float else hint) or (isinstance(value, bool) and hint is not bool):
        return _NO_MATCH
    if hint in (int, float):
        fault = _out_of_range(hint, value, metadata)
        if fault:
            problems.append(Problem(where, f"must be {fault}, not {show(value)}."))
            return INVALID
    return float(value) if hint is float else value


def _not_plain(value: Any, where: str) -> list[Problem]:
    """What in a mapping of any keys must still be given, or is nothing that JSON has."""
    if isinstance(value, dict):
        keys = [Problem(join(where, key), "must have a text as its key.") for key in value if not isinstance(key, str)]
        return keys + [fault for key, item in value.items() for fault in _not_plain(item, join(where, key))]
    if isinstance(value, list):
        return [fault for i, item in enumerate(value) for fault in _not_plain(item, f"{where}[{i}]")]
    if value == "???":
        return [Problem(where, MISSING)]
    if not isinstance(value, (str, bool, int, float, type(None))) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        return [Problem(where, f"must be a text, a finite number, true, false or null, not {show(value)}.")]
    return []


def read_component(group: str, value: Any, where: str, problems: list[Problem]) -> Any:
    """A component of `group` from its name, or from a mapping with `name` and its settings."""
    node = {"name": value} if isinstance(value, str) else value
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        problems.append(Problem(where, "must name one of these.", f"Known: {', '.join(components(group))}."))
        return INVALID
    name = node["name"]
    chosen = component(group, name)
    if chosen is None:
        said = f"there is no {group} '{name}'."
        problems.append(Problem(join(where, "name"), said, did_you_mean(name, components(group))))
        return INVALID
    return read(chosen, node, where, problems)


def _out_of_range(hint: Any, value: float, metadata: Any) -> str:
    if not abs(value) <= sys.float_info.max:
        return "a finite number"
    if hint is int and "maximum" not in metadata and value > LARGEST:
        return f"at most {LARGEST}"
    low, high = metadata.get("minimum"), metadata.get("maximum")
    above, below = metadata.get("above"), metadata.get("below")
    bad = (
        (low is not None and value < low)
        or (high is not None and value > high)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    )
    return interval(metadata) if bad else ""


def interval(metadata: Any) -> str:
    """The range of a field in words, '' when it has none."""
    words = [
        f"{word} {format(metadata[key], '' if isinstance(metadata[key], int) else 'g')}"
        for key, word in (("minimum", "at least"), ("above", "above"), ("maximum", "at most"), ("below", "below"))
        if metadata.get(key) is not None
    ]
    return " and ".join(words)


def describe(hint: Any, metadata: Any = types.MappingProxyType({})) -> str:
    """A type in words, for messages and documentation."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(option, metadata) for option in get_args(hint))
    if origin is Literal:
        return " or ".join(map(str, get_args(hint)))
    if origin is tuple:
        item = get_args(hint)[0]
        if get_origin(item) is Literal:
            return f"a list [...] of {describe(item)}"
        words = {int: "integers", float: "numbers", str: "texts"}
        if item not in words:
            return f"a list [...], each item {describe(item, metadata)}"
        limits = interval(metadata) if item in (int, float) else ""
        return f"a list [...] of {words[item]}" + (f", each {limits}" if limits else "")
    if origin is dict:
        return "a mapping {key: value, ...}"
    if isinstance(hint, type) and issubclass(hint, Component):
        return f"the name of a {hint.group.split('/')[-1]}"
    words = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    described = words.get(hint, getattr(hint, "__name__", str(hint)))
    limits = interval(metadata) if hint in (int, float) else ""
    return f"{described} {limits}".strip()


def _choice(hint: Any, value: Any) -> str:
    if get_origin(hint) is tuple:
        return ""
    choices = [c for option in (get_args(hint) or (hint,)) for c in get_args(option) or (option,) if isinstance(c, str)]
    return did_you_mean(value, choices, fallback=False) if isinstance(value, str) and choices else ""


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:].removesuffix(".") + "." if words else ""


def show(value: Any) -> str:
    """A value as a short piece of YAML flow text."""
    text = {True: "true", False: "false", None: "null"}.get(value) if isinstance(value, (bool, type(None))) else None
    text = text or (f"'{value}'" if isinstance(value, str) else str(value))
    return text if len(text) <= 60 else text[:57] + "..."


def join(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)


def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)
