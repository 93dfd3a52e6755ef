"""A job: one run from its config to its summary, written and shown."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bptrain import files
from bptrain.report.console import Console
from bptrain.runs.directory import RunDirectory, refuse_links
from bptrain.runs.lock import read_lock
from bptrain.runs.record import follow, keep
from bptrain.runs.resume import Resumed, resumed
from bptrain.train.fit import fit
from bptrain.train.launch import launched
from bptrain.train.record import Record
from bptrain.train.run import Run

if TYPE_CHECKING:
    from bptrain.config.compose import Config


def train(run: Run, config: Config, path: Path | None = None, quiet: bool = False) -> dict[str, Any]:
    """Trains a run in a fresh directory, or in `path`; returns its summary.

    Raises what the run raises, after its summary is on disk. Of several processes the first one alone writes and shows
    anything, and has a summary.
    """
    return _trained(run, config, path, quiet)


def resume(directory: RunDirectory, words: Sequence[str] = (), quiet: bool = False) -> dict[str, Any]:
    """Trains a run to its end from its last checkpoint that is whole; returns its summary.

    RequestError when it can't go on as it was, RunFailed when another process is at it. Of several one writes it.
    """
    read_lock(directory)
    refuse_links(directory.path)
    launch = launched()
    with nullcontext() if launch is not None and launch.rank else directory.held():
        found = resumed(directory, words)
        if found.run.ranks is not None:
            found.run.ranks.wait()  # until all have read what the first will replace
        return _trained(found.run, found.config, directory.path, quiet, found)


def job(
    run: Run,
    config: Config,
    records: Iterable[Record],
    path: Path | None = None,
    quiet: bool = False,
    found: Resumed | None = None,
) -> Generator[Record, None, dict[str, Any]]:
    """Passes the records of a run on, each after it is written and shown; returns its summary.

    One that was `found` in its directory goes on there, which is held already.
    """
    directory = RunDirectory(path) if path is not None else RunDirectory.create(run.settings.name)
    files.make_directory(directory.path)
    with ExitStack() as stack:
        if found is None:
            stack.enter_context(directory.held())
            files.remove_directory(directory.path / "checkpoints")  # of a member that begins again
        console = Console(quiet, stack.enter_context(closing(directory.lines("train.log"))))
        headed = _headed(console, run, config, records, found)
        # Closed here, so that the summary is on disk when an interrupt goes on.
        with (
            console.live(run) as show,
            closing(keep(run, config, directory, headed, found.progress if found else None)) as kept,
        ):
            yield from show(kept)
        summary = directory.read_json("summary.json")
        console.closing(run, summary, directory.path)
    return summary


def _trained(run: Run, config: Config, path: Path | None, quiet: bool, found: Resumed | None = None) -> dict[str, Any]:
    if run.ranks is not None and run.ranks.rank:
        for _ in follow(run, fit(run)):
            pass
        return {}
    return _drained(job(run, config, fit(run), path, quiet, found))


def _drained(records: Generator[Record, None, dict[str, Any]]) -> dict[str, Any]:
    while True:
        try:
            next(records)
        except StopIteration as end:
            return end.value


def _headed(
    console: Console, run: Run, config: Config, records: Iterable[Record], found: Resumed | None
) -> Iterator[Record]:
    """The records of a run after its header, so that whatever fails is on record."""
    console.header(run, config.overrides)
    if found is not None:
        console.resumed(run, found.damaged)
    yield from records
