"""A benchmark's table: printed row by row, and written to benchmarks/measured as JSON, Markdown and a picture."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parent / "measured"
LABEL = 46  # characters of a row's name
WITHOUT = "pip install 'bptrain[bench]'"
Cell = float | str | None


def arguments(description: str | None, repetitions: int) -> argparse.Namespace:
    """What every benchmark takes from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, help=f"of each measurement ({repetitions})")
    parser.add_argument("--quick", action="store_true", help="one short repetition: shows that every row works")
    parser.add_argument("--to", type=Path, help="the folder to write to (benchmarks/measured; none when quick)")
    given = parser.parse_args()
    given.repetitions = given.repetitions or (1 if given.quick else repetitions)
    given.to = given.to or (None if given.quick else MEASURED)
    return given


def at_most(target: float, value: float) -> str:
    """A target beside its figure."""
    return f"<= {target:g}: {'met' if value <= target else 'missed'}"


def at_least(target: float, value: float) -> str:
    return f">= {target:g}: {'met' if value >= target else 'missed'}"


@dataclass(frozen=True)
class Row:
    section: str
    label: str
    cells: dict[str, Cell]
    remark: str


class Table:
    """Rows in sections, of cells by column; `columns` are their names and how their numbers are formatted.

    The picture shows the column `chart` as bars, unless `write` is given what draws another.
    """

    def __init__(self, name: str, title: str, columns: dict[str, str], chart: str, given: argparse.Namespace) -> None:
        self.name, self.title, self.columns, self.chart, self.given = name, title, columns, chart, given
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.heading = ""
        print(f"{title}\n{_machine()}; medians of {given.repetitions}")

    def section(self, heading: str) -> None:
        self.heading = heading
        print(f"\n{heading}\n  {'':<{LABEL}}" + "".join(f"{column:>{_width(column)}}" for column in self.columns))

    def row(self, label: str, *cells: Cell, remark: str = "") -> None:
        """A row; cells that are left out are empty."""
        named = dict.fromkeys(self.columns) | dict(zip(self.columns, cells, strict=False))
        self.rows.append(Row(self.heading, label, named, remark))
        told = "".join(f"{self._text(column, cell):>{_width(column)}}" for column, cell in named.items())
        print(f"  {label:<{LABEL}}{told}  {remark}".rstrip(), flush=True)

    def note(self, text: str) -> None:
        self.notes.append(text)
        print(f"  {text}", flush=True)

    def _text(self, column: str, cell: Cell) -> str:
        return "" if cell is None else cell if isinstance(cell, str) else format(cell, self.columns[column])

    def write(self, draw: Callable[[Any], None] | None = None) -> None:
        """The files; `draw` is handed pyplot and makes its figure."""
        folder = self.given.to
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        written = {
            "title": self.title,
            "command": " ".join(["python", "benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]]),
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": _machine(),
            "repetitions": self.given.repetitions,
            "rows": [{"section": r.section, "row": r.label, **r.cells, "remark": r.remark} for r in self.rows],
            "notes": self.notes,
        }
        (folder / f"{self.name}.json").write_text(json.dumps(written, indent=1) + "\n")
        lines = [f"# {self.title}", "", f"`{written['command']}`, {written['date']}, {_machine()};"]
        lines += [f"medians of {self.given.repetitions}.", *self._markdown(), *([""] * bool(self.notes))]
        lines += [f"- {note}" for note in self.notes]
        (folder / f"{self.name}.md").write_text("\n".join(lines) + "\n")
        self._picture(folder / f"{self.name}.svg", draw or self._bars)

    def _markdown(self) -> list[str]:
        lines, heading = [], None
        for row in self.rows:
            if row.section != heading:
                heading = row.section
                lines += ["", f"## {heading}" if heading else "", "", "| | " + " | ".join(self.columns) + " | |"]
                lines += ["|---" + "|--:" * len(self.columns) + "|---|"]
            cells = (self._text(column, cell) for column, cell in row.cells.items())
            lines += [f"| {row.label} | " + " | ".join(cells) + f" | {row.remark} |"]
        return lines

    def _picture(self, path: Path, draw: Callable[[Any], None]) -> None:
        try:
            import matplotlib
        except ImportError:
            return print(f"  no picture: matplotlib is missing; {WITHOUT}")
        matplotlib.use("svg")
        matplotlib.rcParams.update({"svg.hashsalt": self.name, "svg.fonttype": "none", "font.size": 8})
        from matplotlib import pyplot

        draw(pyplot)
        pyplot.savefig(path, metadata={"Date": None}, bbox_inches="tight")
        pyplot.close("all")
        return None

    def _bars(self, pyplot: Any) -> None:
        shown = [
            (row, cell) for row in self.rows if isinstance(cell := row.cells[self.chart], float) and isfinite(cell)
        ]
        sections = list(dict.fromkeys(row.section for row, _ in shown))
        heights = [sum(row.section == section for row, _ in shown) for section in sections]
        figure, axes = pyplot.subplots(
            len(sections),
            squeeze=False,
            figsize=(7, 0.22 * sum(heights) + 0.7 * len(sections)),
            height_ratios=heights,
            layout="constrained",
        )
        figure.suptitle(f"{self.title}: {self.chart}")
        for section, axis in zip(sections, axes[:, 0], strict=True):
            rows = [(row, cell) for row, cell in shown if row.section == section]
            colours = ["C0" if row.label.startswith(("bptrain", "population")) else "0.7" for row, _ in rows]
            bars = axis.barh([row.label for row, _ in rows], [cell for _, cell in rows], color=colours)
            axis.bar_label(bars, [self._text(self.chart, cell) for _, cell in rows], padding=2)
            axis.set_title(section, loc="left", fontsize=8)
            axis.invert_yaxis()
            axis.margins(x=0.1)
            axis.spines[["top", "right"]].set_visible(False)


def _width(column: str) -> int:
    return max(len(column), 15 if column == "target" else 8) + 2


def _machine() -> str:
    """Processor, cores and versions, in a line."""
    described = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*:\s*(.+)", described)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = found[1] if found else platform.machine()
    return f"{processor}, {cores} cores, Python {platform.python_version()}, torch {version('torch')}"
