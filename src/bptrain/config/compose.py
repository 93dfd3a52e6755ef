"""Composes a config with Hydra's compose API, then reads it into `Settings`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bptrain.config.read import INVALID, read
from bptrain.config.settings import Settings
from bptrain.config.tree import Tree
from bptrain.errors import Problem, RequestError, did_you_mean

DEFAULT = "train"


@dataclass(frozen=True)
class Config:
    """A composed config: as Hydra gives it, and with every interpolation resolved."""

    overrides: tuple[str, ...]
    text: str
    resolved: dict[str, Any]

    def show(self, resolve: bool) -> str:
        """The config as YAML."""
        return yaml.safe_dump(self.resolved, sort_keys=False) if resolve else self.text


def parse(words: list[str]) -> list[Override]:
    """Overrides in Hydra's grammar. RequestError with every word that is not one."""
    parser, parsed, problems = OverridesParser.create(), [], []
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException as error:
            problems.append(Problem(f"'{word}'", _one_line(error), "Write key=value."))
            continue
        if override.key_or_group.split(".")[0].split("/")[0] == "hydra":
            problems.append(Problem(f"'{word}'", "bptrain has no hydra node.", _instead_of(override.key_or_group)))
        parsed.append(override)
    if problems:
        raise RequestError(problems)
    return parsed


def compose(words: list[str], config_dir: str | None = None, config_name: str | None = None) -> Config:
    """The config that the overrides compose. RequestError says all that is wrong with them."""
    tree, name = Tree.of(config_dir), (config_name or DEFAULT).removesuffix(".yaml")
    if name not in tree.options():
        raise RequestError(Problem("--config-name", f"there is no '{name}'.", did_you_mean(name, tree.options())))
    problems: list[Problem] = []
    overrides = [_checked(override, tree, problems) for override in parse(words)]
    if problems:
        raise RequestError(problems)
    user, *ours = tree.roots
    # Hydra's way to add a folder behind the first one.
    search = [f'hydra.searchpath=["file://{root}"]' for root in ours]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(user)):
            composed = hydra_compose(name, search + overrides)
        text = OmegaConf.to_yaml(composed)
        resolved = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(_explain(error)) from error
    except yaml.YAMLError as error:
        raise RequestError(Problem("config", f"is not YAML: {_one_line(error)}")) from error
    return Config(tuple(words), text, resolved)  # type: ignore[arg-type]


def settings_of(config: Config) -> Settings:
    """The typed settings of a composed config. RequestError holds every problem found."""
    problems: list[Problem] = []
    settings = read(Settings, config.resolved, "", problems)
    if problems or settings is INVALID:
        raise RequestError(problems)
    return settings


def _checked(override: Override, tree: Tree, problems: list[Problem]) -> str:
    """The override as Hydra shall see it; what it names and is not there is added to `problems`."""
    key, text = override.key_or_group, override.input_line or ""
    if tree.is_group(key):
        value = override.value()
        names = value if isinstance(value, list) else [value]
        options = tree.options(key)
        for option in names:
            if isinstance(option, str) and option.removesuffix(".yaml") not in options:
                problems.append(Problem(key, f"there is no {key} '{option}'.", did_you_mean(option, options)))
        return text
    if "/" in key:
        problems.append(Problem(f"'{text}'", f"there is no group '{key}'.", did_you_mean(key, tree.groups())))
    # Forced in, so that Hydra does not stop at the first unknown key and our reader names them all.
    return text if override.is_delete() else "++" + text.lstrip("+")


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
