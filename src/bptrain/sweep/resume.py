"""Resume of a sweep: trials that have not finished go on where they were, those that had not begun begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bptrain.errors import Problem, RequestError
from bptrain.runs.directory import RunDirectory
from bptrain.sweep.execute import execute
from bptrain.sweep.ledger import Before
from bptrain.sweep.plan import plan

if TYPE_CHECKING:
    from bptrain.cli.arguments import Arguments

FOLDER, START = "config_dir", "config_name"


def request_of(arguments: Arguments) -> dict[str, Any]:
    """What a sweep was asked for, as `sweep.json` keeps it: without trust, which counts on a command line only."""
    words = [word for word in arguments.words if word.partition("=")[0] != "trust"]
    folder = None if arguments.config_dir is None else str(Path(arguments.config_dir).absolute())
    return {"words": words, FOLDER: folder, START: arguments.config_name}


def resume(path: Path, words: Sequence[str] = (), quiet: bool = False) -> int:
    """Runs what is left of a sweep; returns its exit code. RequestError when its plan is another one now.

    `words` may give trust, and nothing else.
    """
    if others := [word for word in words if word.partition("=")[0] != "trust"]:
        what = "changes trials of a sweep, which goes on as it was."
        raise RequestError(
            Problem(f"'{others[0]}'", what, f"Write bptrain resume {path}/0 {others[0]} for a run of it.")
        )
    request = RunDirectory(path).read_json("sweep.json")
    entries = request.pop("trials", None)
    if not isinstance(request.get("words"), list) or not isinstance(entries, list):
        what = "has no sweep.json that can be read, in which a sweep says what it is."
        raise RequestError(Problem(str(path), what, f"Write bptrain resume {path}/0 for one of its runs."))
    trials = plan([*map(str, request["words"]), *words], request.get(FOLDER), request.get(START))
    told = {entry["number"]: entry for entry in entries}
    if any(number >= len(trials) or list(trials[number].words) != told[number]["overrides"] for number in told):
        what = "was planned from configs that have changed since: its trials are others now."
        raise RequestError(Problem(str(path), what, f"Write bptrain resume {path}/0 for one of its runs."))
    finished = {number: entry for number, entry in told.items() if entry["status"] == "finished"}
    left = [
        replace(trial, begun=place) if (place := path / str(trial.number)).joinpath("lock.json").is_file() else trial
        for trial in trials
        if trial.number not in finished
    ]
    if not left:
        if not quiet:
            print(f"{path}: all of its {len(trials)} trials have finished.")
        return 0
    return execute(left, quiet, request, Before(path, finished))
