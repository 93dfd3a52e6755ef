"""The plan of a sweep: one trial for each combination of values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bptrain.config.compose import Config, compose, settings_of
from bptrain.config.expand import expand
from bptrain.config.settings import Settings
from bptrain.config.tree import Tree
from bptrain.config.vary import plain as is_plain
from bptrain.config.vary import varied
from bptrain.errors import Problem, RequestError


@dataclass(frozen=True)
class Part:
    """Trials that train as one program, by number in the order of their seats, and what time has decided there.

    One by itself trains alone.
    """

    trials: tuple[int, ...]
    decisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One job of a sweep. `words` are the overrides that tell it from the others; one that has `begun` is there.

    One of a population that has been cut is in a `part`; one that has `finished` trains for the bits of others alone.
    """

    number: int
    words: tuple[str, ...]
    config: Config
    settings: Settings
    begun: Path | None = None
    part: Part | None = None
    finished: bool = False


def plan(words: list[str], config_dir: str | None = None, config_name: str | None = None) -> list[Trial]:
    """All trials in order, the last swept key changing fastest. RequestError with what is wrong in any of them."""
    fixed, combinations = expand(words, config_dir)
    trials, problems = [], {}
    first: Config | None = None
    plain = is_plain([word for chosen in combinations for word in chosen], Tree.of(config_dir))
    for number, chosen in enumerate(combinations):
        try:
            if first is None or not plain or any(word.startswith("~") for word in fixed):
                config = compose([*fixed, *chosen], config_dir, config_name)
            else:
                config = varied(first, combinations[0], chosen)
            first = first or config
            trials.append(Trial(number, chosen, config, settings_of(config)))
        except RequestError as error:
            problems.update(dict.fromkeys(error.problems))
    names = {trial.settings.name for trial in trials}
    if len(names) > 1:
        what = f"a sweep has one name, and this has {len(names)}, such as {' and '.join(sorted(names)[:2])}."
        problems[Problem("name", what, "Write one, such as name=sweep.")] = None
    if len({trial.settings.sweep for trial in trials}) > 1:
        problems[Problem("sweep", "is how all trials are run, and differs between them.", "Write one value.")] = None
    if problems:
        raise RequestError(list(problems))
    return trials
