"""A job: one run from its config to its summary, written and shown."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bptrain import files
from bptrain.report.console import Console
from bptrain.runs.directory import RunDirectory
from bptrain.runs.record import follow, keep
from bptrain.train.fit import fit
from bptrain.train.record import Record
from bptrain.train.run import Run

if TYPE_CHECKING:
    from bptrain.config.compose import Config


def train(run: Run, config: Config, path: Path | None = None, quiet: bool = False) -> dict[str, Any]:
    """Trains a run in a fresh directory, or in `path`; returns its summary.

    Raises what the run raises, after its summary is on disk. Of several processes the first one alone writes and shows
    anything, and has a summary.
    """
    if run.ranks is not None and run.ranks.rank:
        for _ in follow(run, fit(run)):
            pass
        return {}
    records = job(run, config, fit(run), path, quiet)
    while True:
        try:
            next(records)
        except StopIteration as end:
            return end.value


def job(
    run: Run, config: Config, records: Iterable[Record], path: Path | None = None, quiet: bool = False
) -> Generator[Record, None, dict[str, Any]]:
    """Passes the records of a run on, each after it is written and shown; returns its summary."""
    directory = RunDirectory(path) if path is not None else RunDirectory.create(run.settings.name)
    files.make_directory(directory.path)
    with closing(directory.lines("train.log")) as log:
        console = Console(quiet, log)
        headed = _headed(console, run, config, records)
        # Closed here, so that the summary is on disk when an interrupt goes on.
        with console.live(run) as show, closing(keep(run, config, directory, headed)) as kept:
            yield from show(kept)
        summary = directory.read_json("summary.json")
        console.closing(run, summary, directory.path)
    return summary


def _headed(console: Console, run: Run, config: Config, records: Iterable[Record]) -> Iterator[Record]:
    """The records of a run after its header, so that whatever fails is on record."""
    console.header(run, config.overrides)
    yield from records
