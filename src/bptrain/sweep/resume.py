"""Resume of a sweep: trials that have not finished go on where they were, those that had not begun begin.

Those that train as one program begin again together, if one of them has not finished.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bptrain.errors import Problem, RequestError
from bptrain.runs.directory import RunDirectory, refuse_links
from bptrain.sweep.execute import execute
from bptrain.sweep.ledger import Before
from bptrain.sweep.parts import cut_of, units
from bptrain.sweep.plan import Part, Trial, plan

if TYPE_CHECKING:
    from bptrain.cli.arguments import Arguments

FOLDER, START = "config_dir", "config_name"


def request_of(arguments: Arguments) -> dict[str, Any]:
    """What a sweep was asked for, as `sweep.json` keeps it: without trust, which counts on a command line only."""
    words = [word for word in arguments.words if not _trusts(word)]
    folder = None if arguments.config_dir is None else str(Path(arguments.config_dir).absolute())
    return {"words": words, FOLDER: folder, START: arguments.config_name}


def resume(path: Path, words: Sequence[str] = (), quiet: bool = False) -> int:
    """Runs what is left of a sweep; returns its exit code. RequestError when its plan is another one now.

    `words` may give trust, and nothing else.
    """
    if others := [word for word in words if not _trusts(word)]:
        what = "changes trials of a sweep, which goes on as it was."
        raise RequestError(
            Problem(f"'{others[0]}'", what, f"Write bptrain resume {path}/0 {others[0]} for a run of it.")
        )
    refuse_links(path)
    request = RunDirectory(path).read_json("sweep.json")
    entries = request.pop("trials", None)
    before: Any = request.get("words")
    folder, start = request.get(FOLDER), request.get(START)
    if not (_texts(before) and isinstance(entries, list) and all(map(_is_entry, entries)) and _texts([folder, start])):
        what = "has no sweep.json that can be read, in which a sweep says what it is."
        raise RequestError(Problem(str(path), what, f"Write bptrain resume {path}/0 for one of its runs."))
    if any(map(_trusts, before)):
        what = "gives trust, which counts on the command line only."
        raise RequestError(Problem(f"{path}/sweep.json", what, "Take it out, and write trust=MODULE when you resume."))
    trials = plan([*before, *words], folder, start)
    told = {entry["number"]: entry for entry in entries}
    if any(number >= len(trials) or list(trials[number].words) != told[number]["overrides"] for number in told):
        what = "was planned from configs that have changed since: its trials are others now."
        raise RequestError(Problem(str(path), what, f"Write bptrain resume {path}/0 for one of its runs."))
    try:
        shares, parts = cut_of(request, len(trials))
    except (ValueError, KeyError) as error:
        what = f"has a sweep.json that no sweep has written: {error} in it."
        raise RequestError(Problem(str(path), what, f"Write bptrain resume {path}/0 for one of its runs.")) from error
    finished = {number: entry for number, entry in told.items() if entry["status"] == "finished"}
    left = {
        trial.number: trial
        for unit in units(_as_it_was(trial, path, parts, finished) for trial in trials)
        for trial in unit
    }
    if not left:
        if not quiet:
            print(f"{path}: all of its {len(trials)} trials have finished.")
        return 0
    given = [[left[number] for number in share if number in left] for share in shares]
    return execute(list(left.values()), quiet, request, Before(path, finished), [share for share in given if share])


def _as_it_was(trial: Trial, path: Path, parts: dict[int, Part], finished: Container[int]) -> Trial:
    place, number = path / str(trial.number), trial.number
    begun = place if place.joinpath("lock.json").is_file() else None
    return replace(trial, begun=begun, part=parts.get(number), finished=number in finished)


def _trusts(word: str) -> bool:
    """Whether a word of Hydra's grammar gives trust."""
    return word.lstrip("+ ").partition("=")[0].partition("@")[0].strip() == "trust"


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str | None) for item in value)


def _is_entry(entry: Any) -> bool:
    """Whether it is that of a trial, and of one that has finished has all that is shown of it."""
    number = entry.get("number") if isinstance(entry, dict) else None
    if type(number) is not int or number < 0 or not _texts(entry.get("overrides")):
        return False
    if entry.get("status") != "finished":
        return isinstance(entry.get("status"), str)
    best: Any = entry.get("best")
    name = entry.get("monitor")
    shown = isinstance(best, dict) and best.get("validation" if "validation" in best else "train")
    test, numbers = entry.get("test"), (int, float, type(None))
    return (
        isinstance(shown, dict)
        and isinstance(shown.get(name), numbers)
        and isinstance(test, dict | None)
        and isinstance((test or {}).get(name), numbers)
        and isinstance(entry.get("seconds"), int | float)
        and type(best.get("epoch")) is int
    )
