"""The plan of a sweep: one trial for each combination of values, expanded by Hydra's own parser."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hydra.core.override_parser.types import Override

from bptrain.config.compose import Config, compose, parse, settings_of
from bptrain.config.settings import Settings
from bptrain.errors import Problem, RequestError


@dataclass(frozen=True)
class Trial:
    """One job of a sweep. `words` are the overrides that tell it from the others."""

    number: int
    words: tuple[str, ...]
    config: Config
    settings: Settings


def plan(words: list[str], config_dir: str | None = None, config_name: str | None = None) -> list[Trial]:
    """All trials in order, the last swept key changing fastest. RequestError with what is wrong in any of them."""
    parsed = parse(words)
    swept = [override for override in parsed if override.is_sweep_override()]
    fixed = [override.input_line or "" for override in parsed if not override.is_sweep_override()]
    trials, problems = [], {}
    for number, chosen in enumerate(itertools.product(*(_values(override) for override in swept))):
        try:
            config = compose([*fixed, *chosen], config_dir, config_name)
            trials.append(Trial(number, chosen, config, settings_of(config)))
        except RequestError as error:
            problems.update(dict.fromkeys(error.problems))
    names = {trial.settings.name for trial in trials}
    if len(names) > 1 and "name" in {override.key_or_group for override in swept}:
        problems[Problem("name", "a sweep has one name.", "Sweep another key.")] = None
    if problems:
        raise RequestError(list(problems))
    return trials


def _values(override: Override) -> list[str]:
    """The overrides, one a value, that a swept one stands for."""
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]
