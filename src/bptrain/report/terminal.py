"""Where text goes: the terminal, with colour and tables, or plain lines; and a copy into a run's log."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

import rich.box
import rich.console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bptrain.errors import printable
from bptrain.files import Lines

WIDTH = 1000  # of plain text, where there is no terminal to ask: a row of a table is one line to search


class Cells(Table):
    """A table whose cells are one line each, with nothing in them that a terminal obeys."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(printable(cell) if isinstance(cell, str) else cell for cell in cells), **options)


class Terminal:
    """Prints to stdout unless `quiet`, and as plain text to the log if there is one.

    After stdout has failed nothing more is printed, and what is shown goes on. No space is told on stderr; a reader
    that has left wants no more.
    """

    def __init__(self, quiet: bool = False, log: Lines | None = None) -> None:
        self.quiet, self.log = quiet, log
        self.console = rich.console.Console(quiet=quiet, highlight=False, emoji=False)
        self.interactive = self.console.is_terminal and not quiet

    def print(self, thing: str | Table) -> None:
        """Markup or a table. Without a terminal a sentence is one line, and cheap: Rich need not lay it out."""
        thing = printable(thing, "\n") if isinstance(thing, str) else thing
        text = Text.from_markup(thing, emoji=False).plain if isinstance(thing, str) else self._laid_out(thing)
        try:
            if self.interactive:
                self.console.print(thing)
            elif not self.quiet:
                print(text, flush=True)
        except OSError as error:
            self.quiet, self.interactive = True, False
            if not isinstance(error, BrokenPipeError):
                with contextlib.suppress(OSError):
                    print(f"bptrain: stdout: {error.strerror}. Nothing more is printed.", file=sys.stderr)
        if self.log is not None:
            self.log.append(text)

    def _laid_out(self, table: Table) -> str:
        buffer = io.StringIO()
        rich.console.Console(file=buffer, width=WIDTH, highlight=False, emoji=False).print(table)
        return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())

    def table(self, *columns: str, right: tuple[str, ...] = ()) -> Table:
        """An empty table; its lines are drawn on a terminal only. The columns in `right` hold numbers."""
        table = Cells(box=rich.box.SIMPLE_HEAD if self.interactive else None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(printable(escape(column)), justify="right" if column in right else "left", overflow="fold")
        return table


def number(value: float | None) -> str:
    """Four significant digits, as short as they go; '-' for what there is not, or is no number."""
    return "-" if value is None else f"{value:.4g}"
