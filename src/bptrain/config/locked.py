"""The config that stands in the lock of a run, and words that change it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, OmegaConf

from bptrain.config.cause import one_line
from bptrain.config.component import GROUPS
from bptrain.config.compose import Config, resolve, trusted
from bptrain.config.word import parse
from bptrain.errors import Problem, RequestError

FREE = ("fit.epochs",)  # of which a run may have more than it was started with
ALLOW = "resume.allow"


def locked(lock: dict[str, Any], words: Sequence[str]) -> tuple[Config, list[str]]:
    """The config of a lock with words applied, and what `resume.allow` names. RequestError for what may not change."""
    problems: list[Problem] = []
    trust, allowed, changes = [], [], []
    for override in parse(list(words), problems):
        key, text = override.key_or_group, override.input_line or ""
        if key == "trust":
            trust = trusted(override)
        elif key == ALLOW:
            value = override.value()
            allowed += [str(name) for name in (value if isinstance(value, list) else [value])]
        elif key.split("/")[0] in GROUPS or "/" in key or override.is_delete() or override.is_sweep_override():
            what = "a run that goes on keeps its parts, and values alone may change."
            problems.append(Problem(f"'{text}'", what, "Start a new run for another part."))
        else:
            changes.append("++" + text.lstrip("+"))
    if problems:
        raise RequestError(problems)
    try:
        composed = cast(DictConfig, OmegaConf.create(lock["config"]))
        ConfigLoaderImpl._apply_overrides_to_config(parse(changes, []), composed)
        text, resolved = resolve(composed)
    except RequestError:
        raise
    except Exception as error:  # a lock of somebody's can make OmegaConf fail in any way
        raise RequestError(Problem("config", f"can't be read: {one_line(error)}.", "Name another run.")) from error
    before, now = dict(_leaves(lock["config"])), dict(_leaves(resolved))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key) and key not in (*FREE, *allowed):
            what = f"was {before.get(key)} in this run, and is {now.get(key)}."
            problems.append(Problem(key, what, f"Leave it out, or write {ALLOW}={key}."))
    if problems:
        raise RequestError(problems)
    said = [word for word in words if word.split("=")[0] not in ("trust", ALLOW)]
    return Config((*lock["overrides"], *said), text, resolved, trust), allowed


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, of in value.items():
            yield from _leaves(of, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
