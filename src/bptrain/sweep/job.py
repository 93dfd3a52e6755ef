"""A job: one run from its config to its summary, written and shown."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bptrain.config.settings import Settings
from bptrain.report.console import Console
from bptrain.runs.directory import RunDirectory
from bptrain.runs.record import keep
from bptrain.train.fit import fit
from bptrain.train.run import build

if TYPE_CHECKING:
    from bptrain.config.compose import Config


def train(config: Config, settings: Settings, path: Path | None = None, quiet: bool = False) -> dict[str, Any]:
    """Trains a run in a fresh directory, or in `path`; returns its summary.

    Nothing is written before all parts of the run are built. Raises what the run raises, after its summary
    is on disk.
    """
    run = build(settings)
    directory = RunDirectory(path) if path is not None else RunDirectory.create(settings.name)
    with closing(directory.lines("train.log")) as log:
        console = Console(quiet, log)
        console.header(run, config.overrides)
        # Closed here, so that the summary is on disk when an interrupt goes on.
        with console.live(run) as show, closing(keep(run, config, directory, fit(run))) as records:
            deque(show(records), maxlen=0)
        summary = directory.read_json("summary.json")
        console.closing(run, summary, directory.path)
    return summary
