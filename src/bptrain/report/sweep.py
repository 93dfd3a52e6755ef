"""The console of a sweep: a bar over its trials, a line for each that ends, a table of all at the end."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bptrain.errors import printable
from bptrain.report.terminal import Terminal, number


class SweepConsole:
    """Shows the trials of a sweep as they start and end."""

    def __init__(self, quiet: bool, trials: int, path: Path) -> None:
        self.terminal, self.path = Terminal(quiet), path
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        interactive = self.terminal.interactive
        self.bar = Progress(*columns, console=self.terminal.console, transient=True, disable=not interactive)
        self.task = self.bar.add_task("", total=trials)
        self.terminal.print(f"{trials} trials in {escape(str(path))}")

    def __enter__(self) -> SweepConsole:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def say(self, line: str) -> None:
        self.terminal.print(escape(line))

    def start(self, number: int, words: tuple[str, ...]) -> None:
        self.bar.update(self.task, description=printable(escape(f"{number} {' '.join(words)}")))

    def end(self, trial: dict[str, Any]) -> None:
        """One line: what the trial was and came to."""
        result = trial.get("reason") or _score_words(trial)
        colour = "green" if trial["status"] == "finished" else "red"
        words = " ".join(trial["overrides"])
        self.terminal.print(f"{trial['number']:>4}  {escape(words)}  [{colour}]{trial['status']}[/]  {escape(result)}")
        self.bar.advance(self.task)
        if self.terminal.quiet and trial["status"] == "failed":  # quiet is silent but for errors
            print(printable(f"bptrain: trial {trial['number']} {words}: {result}", "\n"), file=sys.stderr)

    def table(self, trials: list[dict[str, Any]]) -> None:
        """All trials that finished, the best first, then those that did not and why; a table for each metric."""
        finished = sorted((t for t in trials if t["status"] == "finished"), key=_rank)
        failed = [t for t in trials if t["status"] != "finished"]
        for part, name in dict.fromkeys(map(_monitored, finished)):
            scores = (f"{part} {name}", f"test {name}")
            table = self.terminal.table(
                "trial", "overrides", *scores, "epoch", "seconds", right=(*scores, "epoch", "seconds")
            )
            for t in (t for t in finished if _monitored(t) == (part, name)):
                figures = [number(_best(t)), number((t["test"] or {}).get(name))]
                words = escape(" ".join(t["overrides"]))
                table.add_row(str(t["number"]), words, *figures, str(t["best"]["epoch"]), f"{t['seconds']:.1f}")
            self.terminal.print(table)
        for t in failed:
            words = " ".join(t["overrides"])
            self.terminal.print(f"[red]failed[/red]  {t['number']}  {escape(words)}: {escape(t.get('reason', ''))}")
        self.terminal.print(f"{len(finished)} finished, {len(failed)} failed; {escape(str(self.path))}")


def _monitored(trial: dict[str, Any]) -> tuple[str, str]:
    """The part and the metric that picked the best epoch."""
    return "validation" if "validation" in trial["best"] else "train", trial["monitor"]


def _best(trial: dict[str, Any]) -> float | None:
    """The monitored value at the best epoch; None when it was not finite."""
    part, name = _monitored(trial)
    return trial["best"][part][name]


def _rank(trial: dict[str, Any]) -> float:
    value = _best(trial)
    if value is None:
        return float("inf")
    return -value if trial["mode"] == "max" else value


def _score_words(trial: dict[str, Any]) -> str:
    return f"{' '.join(_monitored(trial))} {number(_best(trial))} in {trial['seconds']:.1f} s"
