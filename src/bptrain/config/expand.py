"""Expands the swept words of a command line, such as a=1,2 b=range(3) c=glob(x*), into words of one value."""

from __future__ import annotations

import itertools
import math

from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep

from bptrain.config.tree import Tree
from bptrain.config.word import parse
from bptrain.errors import Problem, RequestError, did_you_mean

TRIALS = 10_000  # at most, in a sweep


def expand(words: list[str], config_dir: str | None = None) -> tuple[list[str], list[tuple[str, ...]]]:
    """The words that have one value, and each combination of the others, the last of them changing fastest.

    RequestError with every word that stands for no value, or when there are too many.
    """
    problems: list[Problem] = []
    tree = Tree.of(config_dir)
    parsed = parse(words, problems)
    fixed = [override.input_line or "" for override in parsed if not override.is_sweep_override()]
    swept = [_values(override, tree, problems) for override in parsed if override.is_sweep_override()]
    if problems:
        raise RequestError(problems)
    if (trials := math.prod(map(len, swept))) > TRIALS:
        raise RequestError(_too_many("-m", trials))
    return fixed, list(itertools.product(*swept))


def _too_many(where: str, trials: float) -> Problem:
    return Problem(where, f"stands for {trials:,} trials, and a sweep has at most {TRIALS:,}.", "Write fewer values.")


def _values(override: Override, tree: Tree, problems: list[Problem]) -> list[str]:
    """The overrides, one a value, that a swept one stands for."""
    key, swept = override.key_or_group, override.value()
    what, instead = "holds no value.", "Write values, such as 1,2 or range(3)."
    values: list[str] = []
    if isinstance(swept, IntervalSweep):
        what = "is an interval, and a sweep takes one value after the other."
        instead = "Write some of them, such as 0.1,0.01 or range(0,1,0.25)."
    elif isinstance(swept, Glob) and not tree.is_group(key):
        what, instead = "chooses among options, and this is no group.", did_you_mean(key, tree.groups())
    elif isinstance(swept, Glob):
        values = swept.filter(tree.options(key))
        what, instead = f"fits no {key}.", did_you_mean("", tree.options(key))
    elif isinstance(swept, RangeSweep) and swept.step and not (count := _count(swept)) <= TRIALS:
        problems.append(_too_many(f"'{override.input_line}'", count))
        return []
    elif not (isinstance(swept, RangeSweep) and swept.step == 0):
        values = list(override.sweep_string_iterator())
    if not values:
        problems.append(Problem(f"'{override.input_line}'", what, instead))
    return [f"{override.get_key_element()}={value}" for value in values]


def _count(swept: RangeSweep) -> float:
    """How many values a range has, found without making them."""
    start, stop, step = swept.start or 0, swept.stop or 0, swept.step
    return max(0, -((start - stop) // step))
