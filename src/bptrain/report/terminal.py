"""Where text goes: the terminal, with colour and tables, or plain lines; and a copy into a run's log."""

from __future__ import annotations

import io
import sys
from typing import Any

import rich.box
import rich.console
from rich.table import Table

from bptrain.files import Lines

WIDTH = 1000  # of plain text, where there is no terminal to ask: a row of a table is one line to search


class Terminal:
    """Prints to stdout unless `quiet`, and as plain text to the log if there is one."""

    def __init__(self, quiet: bool = False, log: Lines | None = None) -> None:
        plain = not sys.stdout.isatty()
        self.quiet, self.log = quiet, log
        self.console = rich.console.Console(quiet=quiet, width=WIDTH if plain else None, highlight=False)
        self.interactive = self.console.is_terminal and not quiet

    def print(self, *things: Any) -> None:
        wrap = not any(isinstance(thing, Table) for thing in things)  # a sentence is cut by the terminal, not by us
        self.console.print(*things, soft_wrap=wrap)
        if self.log is not None:
            buffer = io.StringIO()
            rich.console.Console(file=buffer, width=WIDTH, highlight=False).print(*things, soft_wrap=wrap)
            for line in buffer.getvalue().splitlines():
                self.log.append(line.rstrip())

    def table(self, *columns: str, right: tuple[str, ...] = ()) -> Table:
        """An empty table; its lines are drawn on a terminal only. The columns in `right` hold numbers."""
        table = Table(box=rich.box.SIMPLE_HEAD if self.interactive else None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        return table


def number(value: float) -> str:
    """Four significant digits, as short as they go."""
    return f"{value:.4g}"
