"""What Hydra, OmegaConf and the YAML reader stumble on, in the words of the command line and the files."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from hydra.core.override_parser.types import Override
from omegaconf.errors import GrammarParseError

from bptrain.config.preset_file import no_yaml
from bptrain.config.word import instead_of
from bptrain.errors import Problem


def explained(error: Exception, overrides: list[Override], chosen: list[Path]) -> Problem:
    """An error of composing as what is wrong with the overrides, or with the files that they have chosen."""
    cause = error.__cause__ or error
    if isinstance(error, RecursionError):
        return Problem(
            ", ".join(map(str, chosen)) or "config", "takes in itself, or files that do.", "Look at the defaults."
        )
    if found := re.search(r"'(hydra/[^'@]+)'", str(error)):
        return Problem(f"'{found[1]}'", "bptrain has no hydra node.", instead_of(found[1]))
    if found := re.match(r"Could not override '([^'@]+/[^'@]+)'", str(error)):
        group, _, part = found[1].rpartition("/")
        names = [f"{group}={o.value()}" for o in overrides if o.key_or_group == group] or [f"the {group} chosen"]
        return Problem(f"'{found[1]}'", f"{names[-1]} has no {part}.", "Leave it out.")
    if found := re.match(r"Could not (?:delete|override) '([^']+)'\.", str(error)):
        return Problem(f"'{found[1]}'", "is not chosen.", "Leave it out.")
    if isinstance(cause, yaml.MarkedYAMLError):
        return no_yaml(cause)
    key, said = getattr(cause, "full_key", None) or "config", one_line(cause)
    if found := re.match(r"In '?([\w./-]+)'?: (?:\w+ raised while composing config: )?(.*)", one_line(error)):
        key, said = found.groups()
    if isinstance(cause, GrammarParseError):
        return Problem(str(key), "holds no interpolation that can be read.", "Write ${KEY} for the value of a key.")
    if "Cannot merge DictConfig with ListConfig" in said:
        return Problem(str(key), "has a list where a group of settings must be.", "Write KEY.NAME=VALUE.")
    if "Incompatible key type" in said:
        return Problem(str(key), "has a key that is no text.", "Write it in quotes.")
    return Problem(str(key), said)


def one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [
        line
        for line in lines
        if not re.match(r"(full_key|object_type|See https?://|Config search path|provider=)", line)
    ]
    text = " ".join(kept) or type(error).__name__
    return text if text.endswith((".", "?", "!")) else text + "."
