"""A YAML file of anybody's, looked through before it is read: what makes readers slow, and what may not stand in it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import yaml

from bptrain.errors import Problem

LARGEST, DEEPEST, MOST = 1_000_000, 32, 3_000  # bytes, levels, and keys and values: OmegaConf takes 0.2 ms for each
# The last two ranges make text appear in another order than it is read in.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# What tells Hydra to call something. bptrain calls nothing that a file names, and says so where one expects it.
CALLS = frozenset({"_target_", "_args_", "_partial_", "_recursive_", "_convert_", "_call_"})
CALLED = "makes Hydra call what a file names, and bptrain calls nothing so."
INSTEAD = "Write name=NAME of a component; your own code is model=custom."


def dangers(path: Path) -> list[Problem]:
    """What keeps a file from being read. Nothing is built of it for that; what is no YAML is left for others to say."""
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        return [Problem(str(path), f"has more than {LARGEST:,} bytes.", "Put data into files of data.")]
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return [Problem(str(path), "is not UTF-8.", "Save the file as UTF-8.")]
    if found := CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        return [Problem(f"{path}:{line}", f"holds the control character U+{ord(found[0]):04X}.", "Remove it.")]
    problems: dict[str, Problem] = {}
    with suppress(yaml.YAMLError):
        _look(path, text, problems)
    return list(problems.values())


def _look(path: Path, text: str, problems: dict[str, Problem]) -> None:
    """Notes what is wrong, the first of each kind, from the events of YAML's parser."""
    count, keys = 0, list[tuple[set[str], bool] | None]()  # of each open mapping the keys, and whether one is next
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        where = f"{path}:{event.start_mark.line + 1}"
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            keys.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        count += 1
        if event.anchor is not None:
            what = "has an anchor & or alias *, by which a short file becomes a long one."
            problems.setdefault("alias", Problem(where, what, "Write the value where it is used."))
        if keys and keys[-1] is not None:
            seen, is_key = keys[-1]
            keys[-1] = (seen, not is_key)
            if is_key and isinstance(event, yaml.ScalarEvent):
                if event.value in seen:
                    problems.setdefault(
                        "duplicate", Problem(where, f"has a duplicate key '{event.value}'.", "Keep one.")
                    )
                if event.value in CALLS:
                    problems.setdefault("call", Problem(where, f"{event.value} {CALLED}", INSTEAD))
                seen.add(event.value)
        if isinstance(event, yaml.CollectionStartEvent):
            keys.append((set(), True) if isinstance(event, yaml.MappingStartEvent) else None)
        if len(keys) > DEEPEST or count > MOST:
            what = f"has more than {DEEPEST} levels." if len(keys) > DEEPEST else f"has more than {MOST:,} values."
            problems["size"] = Problem(where, what, "Put data into files of data.")
            return
