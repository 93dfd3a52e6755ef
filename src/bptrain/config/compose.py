"""Composes a config with Hydra's compose API, then reads it into `Settings`."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from bptrain.config.cause import explained
from bptrain.config.component import GROUPS
from bptrain.config.interpolation import forbidden
from bptrain.config.loader import defaults_list, loader_of
from bptrain.config.preset_file import faults, left_over
from bptrain.config.read import INVALID, MISSING, NO_KEY, read, show
from bptrain.config.settings import UNTRUSTED, Settings
from bptrain.config.tree import Tree
from bptrain.config.word import NO_NAME, instead_of, or_quoted, parse
from bptrain.errors import Problem, RequestError, closest, did_you_mean, printable

DEFAULT = "train"
PARTS = {field.name for field in fields(Settings)}  # a group that is none of these is of presets


@dataclass(frozen=True)
class Config:
    """A composed config: as Hydra gives it, and with every interpolation resolved.

    `trust` is what the command line says of it. It stands in neither form, so that no file can bring it back.
    `presets` are the files that may set any key.
    """

    overrides: tuple[str, ...]
    text: str
    resolved: dict[str, Any]
    trust: Any = ()
    presets: tuple[Path, ...] = ()

    def show(self, resolve: bool) -> str:
        """The config as YAML. RequestError when it is wrong, but for what must still be given or trusted."""
        try:
            settings_of(self)
        except RequestError as error:
            if wrong := [problem for problem in error.problems if problem.what not in (MISSING, UNTRUSTED)]:
                raise RequestError(wrong) from None
        return printable(yaml.safe_dump(self.resolved, sort_keys=False) if resolve else self.text, "\n")


def compose(words: list[str], config_dir: str | None = None, config_name: str | None = None) -> Config:
    """The config that the overrides compose. RequestError says all that is wrong with them."""
    tree, name = Tree.of(config_dir), (DEFAULT if config_name is None else config_name).removesuffix(".yaml")
    if name not in tree.options():
        raise RequestError(Problem("--config-name", f"there is no '{name}'.", did_you_mean(name, tree.options())))
    problems: list[Problem] = []
    parsed = parse(words, problems)
    overrides, chosen, trust = [], tree.own("", name), []
    deleted: dict[str, Override] = {}
    dropped = [_key(word) for word in words if word not in {override.input_line for override in parsed}]
    for override in parsed:
        key = override.key_or_group
        deleted.pop(key, None)
        if found := _problems(override, tree):
            problems += found
            dropped.append(key)
        elif key == "trust" and override.package is None:
            trust = trusted(override)
        elif override.is_delete() and not tree.is_group(key):
            deleted[key] = override
        else:
            overrides.append(_for_hydra(override, tree))
            chosen += _own(override, tree)
    if wrong := [problem for path in tree.own("", name) for problem in faults(path, False)]:
        raise RequestError(problems + wrong)
    try:
        loader = loader_of(tree)
        defaults, files = defaults_list(loader, name, _chosen_anew(overrides, loader, name))
        composed = loader._compose_config_from_defaults_list(defaults.defaults, files)
        loader._apply_overrides_to_config(defaults.config_overrides, composed)
        problems += _of_hydra(composed)
        composed.pop("hydra", None)
        problems += [problem for override in deleted.values() for problem in _delete(composed, override)]
        plain = cast(dict, OmegaConf.to_container(composed))
        if plain.get("trust") is not None:
            problems.append(_trust_in_file(tree, defaults))
        text, resolved = resolve(composed)
    except RequestError as error:
        raise RequestError(problems + list(error.problems)) from None
    except Exception as error:  # a file of somebody's can make Hydra, OmegaConf and the YAML reader fail in any way
        raise RequestError(problems or explained(error, parsed, chosen)) from error
    if problems:
        known = [*tree.groups(), *_leaves(composed)]
        raise RequestError([_meant(p, known) for p in problems] + _others(resolved, trust, dropped, tree))
    anywhere = [default.config_path or "" for default in defaults.defaults if not default.package]
    presets = [path for name in anywhere for path in tree.file(name)]
    return Config(tuple(words), text, resolved, trust, tuple(presets))


def resolve(composed: DictConfig) -> tuple[str, dict[str, Any]]:
    """A composed config as YAML, and as plain data with all resolved. RequestError where that would not be safe."""
    if found := forbidden(OmegaConf.to_container(composed)):
        raise RequestError(found)
    return OmegaConf.to_yaml(composed), cast(dict, OmegaConf.to_container(composed, resolve=True))


def settings_of(config: Config) -> Settings:
    """The typed settings of a composed config. RequestError holds every problem found."""
    problems: list[Problem] = []
    settings = _read(config.resolved, config.trust, problems)
    if problems or settings is INVALID:
        said = {word.lstrip("+").partition("=")[0] for word in config.overrides}
        by_files = iter(left_over([p for p in problems if p.where not in said], config.presets))
        raise RequestError([p if p.where in said else next(by_files) for p in problems])
    return settings


def _read(resolved: Any, trust: Any, problems: list[Problem]) -> Any:
    return read(Settings, {**resolved, "trust": trust}, "", problems)


def trusted(override: Override) -> Any:
    """The modules that a word of the command line trusts, for the reader to judge."""
    value = override.value()
    return value if isinstance(value, (list, dict)) else [] if value is None else [value]


def _trust_in_file(tree: Tree, defaults: DefaultsList) -> Problem:
    """That a file gives trust, and which."""
    files = [path for default in defaults.defaults for path in tree.own("", default.config_path or "")]
    found = {path: re.search(r"^trust\s*:", path.read_text(encoding="utf-8"), re.MULTILINE) for path in files}
    lines = [f"{path}:{match.string.count(chr(10), 0, match.start()) + 1}" for path, match in found.items() if match]
    what = "trust counts on the command line only, and here a file gives it."
    return Problem(lines[0] if lines else "trust", what, "Take it out, and write trust=MODULE when you run.")


def _problems(override: Override, tree: Tree) -> list[Problem]:
    """What is wrong with an override before anything is composed: what it names is not there."""
    key, text, value = override.key_or_group, override.input_line or "", override.value()
    if override.is_sweep_override():
        instead = "Add -m to train one network for each"
        return [
            Problem(f"'{text}'", "has several values.", f"{instead}{'' if tree.is_group(key) else or_quoted(text)}.")
        ]
    if key.startswith("trust."):
        return [Problem(f"'{text}'", "trust has no keys.", "Write trust=package.module.")]
    if not tree.is_group(key):
        return _of_no_group(key, text, override.package is not None, tree)
    if override.is_delete() and not isinstance(value, str | None):
        return [Problem(f"'{text}'", f"{show(value)} is no option.", f"Write ~{key}.")]
    if isinstance(value, dict):
        instead = f"Write {key}=NAME and {key.replace('/', '.')}.KEY=VALUE."
        return [Problem(key, "takes the name of an option, not a mapping.", instead)]
    if value is None and key.split("/")[0] not in PARTS:  # no preset
        return []
    options = tree.options(key)
    chosen = ["null" if name is None else str(name) for name in (value if isinstance(value, list) else [value])]
    names = [name.removesuffix(".yaml") for name in chosen]
    unknown = [
        Problem(key, f"there is no {key} '{name}'.", did_you_mean(name, options))
        for name in names
        if name not in options and not override.is_delete()
    ]
    preset = key.split("/")[0] not in PARTS
    return unknown + [problem for path in _own(override, tree) for problem in faults(path, preset)]


def _of_no_group(key: str, text: str, packaged: bool, tree: Tree) -> list[Problem]:
    """What is wrong with a key that is no group, if it was meant to be one."""
    groups = tree.groups() if "/" in key or (key not in PARTS and "." not in key) else []
    if "/" in key:
        return [Problem(f"'{text}'", f"there is no group '{key}'.", did_you_mean(key, groups))]
    if packaged:
        return [Problem(f"'{text}'", f"'{key}' is no group, which alone has a place after '@'.", "Write key=value.")]
    if PARTS.isdisjoint(near := closest(key, [*groups, *PARTS])) and near:
        return [Problem(key, f"{NO_KEY} the config.", did_you_mean(key, near))]
    return []


def _own(override: Override, tree: Tree) -> list[Path]:
    """The user's files that an override chooses."""
    key, value = override.key_or_group, override.value()
    if override.is_delete() or not tree.is_group(key):
        return []
    options = value if isinstance(value, list) else [value]
    return [path for option in options for path in tree.own(key, str(option).removesuffix(".yaml"))]


def _for_hydra(override: Override, tree: Tree) -> str:
    """The override as Hydra shall see it."""
    key, text = override.key_or_group, override.input_line or ""
    if override.is_delete():
        return text
    if tree.is_group(key):
        word = text.lstrip("+")
        return f"~{key}" if override.value() is None else word if word == text else f"+{word}"
    # Forced in, so that Hydra does not stop at the first unknown key and our reader names them all.
    return "++" + text.lstrip("+")


def _key(word: str) -> str:
    """The key of a word that Hydra can't read, '' when it does not belong to a part of the config."""
    key = word.lstrip("+~").partition("=")[0]
    return key if re.split(r"[./]", key)[0] in PARTS else ""


def _chosen_anew(words: list[str], loader: ConfigLoaderImpl, name: str) -> list[str]:
    """`+group=option` as `group=option` where the defaults list has the group already, which Hydra else refuses."""
    if not any(re.match(r"\+\w", word) for word in words):
        return words
    plain = [word for word in words if not word.startswith("+")]
    taken = defaults_list(loader, name, plain)[0].overrides.known_choices
    return [word[1:] if re.match(r"\+\w", word) and word[1:].split("=")[0] in taken else word for word in words]


def _meant(problem: Problem, known: list[str]) -> Problem:
    """The problem with the key that was meant, where what was written can't be one, as with a digit in front."""
    key = problem.where.strip("'+~")
    if problem.what != NO_NAME or not (near := closest(key, known)):
        return problem
    return replace(problem, instead=f"{did_you_mean(key, near)} {problem.instead}")


def _delete(composed: DictConfig, override: Override) -> list[Problem]:
    """Takes a key out of the config. Hydra itself finds none whose value is null."""
    key, text, value = override.key_or_group, f"'{override.input_line}'", override.value()
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(composed, parent) if parent else composed
    if not isinstance(node, DictConfig) or leaf not in node.keys():  # noqa: SIM118 - `in` passes over '???'
        return [Problem(text, f"there is no '{key}' to delete.", did_you_mean(key, _leaves(composed), fallback=False))]
    if value is not None and node[leaf] != value:
        return [Problem(text, f"{key} is {show(node[leaf])}, not {show(value)}.", f"Write ~{key}.")]
    del node[leaf]
    return []


def _leaves(node: DictConfig) -> dict[str, Any]:
    """Every value of a config by its dotted key."""
    found: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict) and value:
            for name, item in value.items():
                walk(item, f"{key}.{name}" if key else str(name))
        else:
            found[key] = value

    walk(OmegaConf.to_container(node), "")
    return found


def _of_hydra(composed: DictConfig) -> list[Problem]:
    """What the user's files say of Hydra's own config, which bptrain has not: one problem a key of it."""
    keys = [key for key in _leaves(composed) if key.split(".")[0] == "hydra"]
    first = {tuple(key.split(".")[:2]): key for key in reversed(keys)}
    return [Problem(key, "bptrain has no hydra node.", instead_of(key)) for key in first.values()]


def _others(resolved: Any, trust: Any, dropped: list[str], tree: Tree) -> list[Problem]:
    """What the reader says of a config without the overrides of some keys, but for what may come of their absence."""
    hidden: set[str] = set()
    for key in filter(None, dropped):
        group = key if tree.is_group(key) else key.rpartition("/")[0] or key
        part = group.split("/")[0].split(".")[0] in PARTS
        hidden |= {group} if part else {group, *GROUPS}  # a preset may choose any part
    starts = tuple(f"{key.replace('/', '.')}." for key in hidden)
    problems: list[Problem] = []
    _read(resolved, trust, problems)
    return [problem for problem in problems if not f"{problem.where}.".startswith(starts)]
