"""The table of `bptrain runs`."""

from __future__ import annotations

from rich.markup import escape

from bptrain.report.terminal import Terminal, number
from bptrain.runs.listing import Listed

COLOURS = {"finished": "green", "failed": "red"}


def show_runs(runs: list[Listed]) -> None:
    """A row for each run: where it is, how it ended, its monitored metric, its gradients' verdict."""
    terminal = Terminal()
    if not runs:
        terminal.print("no runs yet: `bptrain` trains the default experiment")
        return
    table = terminal.table("run", "status", "metric", "best", "test", "epochs", "seconds", "gradients", "overrides")
    for run in runs:
        colour = COLOURS.get(run.status, "yellow")
        table.add_row(
            escape(str(run.path)),
            f"[{colour}]{escape(run.status)}[/{colour}]",
            escape(run.metric),
            number(run.best),
            number(run.test),
            escape(str(run.summary.get("epochs", "-"))),
            escape(str(run.summary.get("seconds", "-"))),
            escape(run.gradients),
            escape(" ".join(run.overrides)),
        )
    terminal.print(table)
