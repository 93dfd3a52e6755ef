"""Composes a config with Hydra's compose API, then reads it into `Settings`."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

import yaml
from hydra import version
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins import basic_launcher, basic_sweeper  # noqa: F401 - options of Hydra's own defaults
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from bptrain.config.component import GROUPS
from bptrain.config.read import INVALID, read
from bptrain.config.settings import Settings
from bptrain.config.tree import Tree
from bptrain.errors import Problem, RequestError, did_you_mean

DEFAULT = "train"
PARTS = {field.name for field in fields(Settings)}  # a group that is none of these is of presets


@dataclass(frozen=True)
class Config:
    """A composed config: as Hydra gives it, and with every interpolation resolved."""

    overrides: tuple[str, ...]
    text: str
    resolved: dict[str, Any]

    def show(self, resolve: bool) -> str:
        """The config as YAML."""
        return yaml.safe_dump(self.resolved, sort_keys=False) if resolve else self.text


def parse(words: list[str], problems: list[Problem]) -> list[Override]:
    """Overrides in Hydra's grammar; a word that is none is left out and added to `problems`."""
    parser, parsed = OverridesParser.create(), []
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException as error:
            problems.append(Problem(f"'{word}'", _one_line(error), "Write key=value."))
            continue
        if override.key_or_group.split(".")[0].split("/")[0] == "hydra":
            problems.append(Problem(f"'{word}'", "bptrain has no hydra node.", _instead_of(override.key_or_group)))
        else:
            parsed.append(override)
    return parsed


def compose(words: list[str], config_dir: str | None = None, config_name: str | None = None) -> Config:
    """The config that the overrides compose. RequestError says all that is wrong with them."""
    tree, name = Tree.of(config_dir), (config_name or DEFAULT).removesuffix(".yaml")
    if name not in tree.options():
        raise RequestError(Problem("--config-name", f"there is no '{name}'.", did_you_mean(name, tree.options())))
    problems: list[Problem] = []
    overrides, dropped = [], []
    for override in parse(words, problems):
        if found := _problems(override, tree):
            problems += found
            dropped.append(override.key_or_group)
        else:
            overrides.append(_for_hydra(override, tree))
    try:
        composed = _hydra(tree).compose_config(name, overrides, RunMode.RUN, from_shell=False)
        with open_dict(composed):
            composed.pop("hydra", None)
        text = OmegaConf.to_yaml(composed)
        resolved = OmegaConf.to_container(composed, resolve=True)
    except Exception as error:  # a file of somebody's can make Hydra, OmegaConf and the YAML reader fail in any way
        raise RequestError(problems or _explain(error)) from error
    if problems:
        raise RequestError(problems + _others(resolved, dropped, tree))
    return Config(tuple(words), text, resolved)  # type: ignore[arg-type]


def _hydra(tree: Tree) -> Hydra:
    """Hydra with all folders of the tree on its search path, in their order.

    `initialize_config_dir` takes one folder, and its way to add others comes too late for the config to
    start from; this is what it does, for several. What it needs is registered by hand, so that no plug-in
    is looked for and none can run.
    """
    version.setbase("1.3")
    for source in (FileConfigSource, ImportlibResourcesConfigSource, StructuredConfigSource):
        SourcesRegistry.instance().register(source)
    path = ConfigSearchPathImpl()
    path.append("hydra", "pkg://hydra.conf")
    for root in tree.roots:
        path.append("main", f"file://{root}")
    path.append("schema", "structured://")
    GlobalHydra.instance().clear()
    return Hydra.create_main_hydra2("bptrain", path)


def settings_of(config: Config) -> Settings:
    """The typed settings of a composed config. RequestError holds every problem found."""
    problems: list[Problem] = []
    settings = read(Settings, config.resolved, "", problems)
    if problems or settings is INVALID:
        raise RequestError(problems)
    return settings


def _problems(override: Override, tree: Tree) -> list[Problem]:
    """What is wrong with an override before anything is composed: what it names is not there."""
    key, text, value = override.key_or_group, override.input_line or "", override.value()
    if override.is_sweep_override():
        return [Problem(f"'{text}'", "has several values.", "Add -m to train one network for each.")]
    if not tree.is_group(key):
        what = f"there is no group '{key}'."
        return [Problem(f"'{text}'", what, did_you_mean(key, tree.groups()))] if "/" in key else []
    if isinstance(value, dict):
        instead = f"Write {key}=NAME and {key.replace('/', '.')}.KEY=VALUE."
        return [Problem(key, "takes the name of an option, not a mapping.", instead)]
    if value is None and key.split("/")[0] not in PARTS:  # no preset
        return []
    options = tree.options(key)
    chosen = ["null" if name is None else str(name) for name in (value if isinstance(value, list) else [value])]
    names = [name.removesuffix(".yaml") for name in chosen]
    return [
        Problem(key, f"there is no {key} '{name}'.", did_you_mean(name, options))
        for name in names
        if name not in options and not override.is_delete()
    ]


def _for_hydra(override: Override, tree: Tree) -> str:
    """The override as Hydra shall see it."""
    key, text = override.key_or_group, override.input_line or ""
    if override.is_delete():
        return text
    if tree.is_group(key):
        return f"~{key}" if override.value() is None else text
    # Forced in, so that Hydra does not stop at the first unknown key and our reader names them all.
    return "++" + text.lstrip("+")


def _others(resolved: Any, dropped: list[str], tree: Tree) -> list[Problem]:
    """What the reader says of a config without the overrides of some keys, but for what may come of their absence."""
    hidden: set[str] = set()
    for key in dropped:
        group = key if tree.is_group(key) else key.rpartition("/")[0] or key
        hidden |= {group} if group.split("/")[0].split(".")[0] in PARTS else set(GROUPS)  # a preset may choose any part
    starts = tuple(f"{key.replace('/', '.')}." for key in hidden)
    problems: list[Problem] = []
    read(Settings, resolved, "", problems)
    return [problem for problem in problems if not f"{problem.where}.".startswith(starts)]


def _explain(error: Exception) -> Problem:
    cause = error.__cause__ or error
    key = getattr(cause, "full_key", None) or "config"
    return Problem(str(key), _one_line(cause))


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [
        line
        for line in lines
        if not re.match(r"(full_key|object_type|See https?://|Config search path|provider=)", line)
    ]
    text = " ".join(kept) or type(error).__name__
    return text if text.endswith((".", "?", "!")) else text + "."


def _instead_of(key: str) -> str:
    known = {
        "hydra.run.dir": "The run directory is outputs/<name>/<date>_<time>: set name=.",
        "hydra.sweep.dir": "A sweep's directory is outputs/<name>/sweeps/<date>_<time>: set name=.",
        "hydra.searchpath": "Use --config-dir DIR.",
        "hydra.verbose": "Set BPTRAIN_TRACEBACK=1 to see where an error comes from.",
    }
    return known.get(key, "Sweeps are planned with -m and run by bptrain itself.")
