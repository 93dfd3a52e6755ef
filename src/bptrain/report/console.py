"""The console of a run: header, live bar, a line for each epoch, the verdict of the check, the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bptrain.check.verdict import VERIFIED, failed
from bptrain.files import Lines
from bptrain.report.terminal import Terminal, number
from bptrain.train.record import Checked, Chosen, Evaluated, NonFinite, Record, Stepped
from bptrain.train.run import Run

PAUSE = 0.1  # seconds between two looks at the loss: each makes the device finish what it has begun
DONE = {"skip": "It is left out.", "restore": "It is left out, and the best weights go on."}
COLOURS = {VERIFIED: "green", "contract": "green", "numerical": "yellow", "unverified": "yellow"}


class Console:
    """Shows one run. With `quiet` nothing appears on stdout; the log gets all the same text."""

    def __init__(self, quiet: bool = False, log: Lines | None = None) -> None:
        self.terminal = Terminal(quiet, log)

    def header(self, run: Run, overrides: Iterable[str] = ()) -> None:
        """What is going to be trained, on what, with what."""
        settings, dataset = run.settings, run.dataset
        say = self.terminal.print
        shape = "x".join(map(str, dataset.shape))
        sizes = ", ".join(f"{len(part)} {name}" for name, part in dataset.parts.items())
        kind = f"{len(dataset.classes)} classes" if dataset.classes else f"{dataset.outputs} target(s)"
        say(f"[bold]{escape(settings.name)}[/bold]  {escape(' '.join(overrides))}".rstrip())
        say(f"data       {escape(dataset.name)}: {dataset.task}, {shape} inputs, {kind}; {sizes}")
        say(f"optimizer  {_named(settings.optimizer)}; scheduler {settings.scheduler.name}; loss {settings.loss.name}")
        threads = f"{settings.threads} thread{'s' if settings.threads > 1 else ''}"
        precision = "" if settings.precision == "fp32" else f", precision {settings.precision}"
        ranks = f", {run.ranks.size} processes ({run.ranks.strategy})" if run.ranks is not None else ""
        say(f"device     {run.device}, {threads}, seed {settings.seed}{precision}{ranks}")
        table = self.terminal.table("layer", "kind", "parameters", right=("parameters",))
        for name, kind, count in _layers(run):
            table.add_row(escape(name), escape(kind), f"{count:,}")
        table.add_row("total", settings.model.name, f"{sum(p.numel() for p in run.state.model.parameters()):,}")
        say(table)

    def resumed(self, run: Run, damaged: Iterable[str]) -> None:
        """From where a run goes on, and what was wrong with newer checkpoints."""
        for text in damaged:
            self.terminal.print(f"[yellow]damaged    {escape(text)} The one before it is used.[/yellow]")
        state = run.state
        where = (
            f"epoch {state.epoch + 1}, step {state.step + 1}" if state.step else "the start, as it has no checkpoint"
        )
        self.terminal.print(f"resumed    from {where}")

    @contextmanager
    def live(self, run: Run) -> Iterator[Callable[[Iterable[Record]], Iterator[Record]]]:
        """Gives a function that passes records on and shows them, with a bar on a terminal."""
        if not self.terminal.interactive:
            yield lambda records: self._follow(run, records, None)
            return
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
        ]
        with Progress(*columns, console=self.terminal.console, transient=True) as bar:
            yield lambda records: self._follow(run, records, bar)

    def _follow(self, run: Run, records: Iterable[Record], bar: Progress | None) -> Iterator[Record]:
        task = bar.add_task("step", total=run.total_steps, figures="") if bar is not None else None
        rows, start, looked, metric = 0, time.perf_counter(), 0.0, ""
        for record in records:
            match record:
                case Stepped():
                    rows += record.rows
                    now = time.perf_counter()
                    if bar is not None and task is not None and now - looked > PAUSE:
                        looked = now
                        figures = (
                            f"loss {number(record.loss.item())}{metric}  lr {number(record.lr)}  "
                            f"{rows / (now - start):,.0f} samples/s"
                        )
                        bar.update(task, completed=record.step, figures=figures)
                case Evaluated():
                    value = record.scores.get("validation", record.scores["train"]).get(run.monitor)
                    metric = f"  {run.monitor} {number(value)}" if value is not None else ""
                    self._epoch(run, record)
                case Checked():
                    self.verdict(record)
                case NonFinite() if run.settings.fit.on_nonfinite != "stop":  # else the error that follows says it
                    done = DONE[run.settings.fit.on_nonfinite]
                    self.terminal.print(f"[red]not finite[/red] {escape(record.text)} {done}")
                case Chosen():
                    engine = f"engine     {record.engine} from step {record.step + 1} on"
                    self.terminal.print(f"{engine}: {escape(record.why)}")
            yield record

    def _epoch(self, run: Run, record: Evaluated) -> None:
        parts = "   ".join(f"{part} {_scores(scores)}" for part, scores in record.scores.items())
        width = len(str(run.settings.fit.epochs))
        best = "   [green]best[/green]" if record.best else ""
        epoch = f"epoch {record.epoch:>{width}}/{run.settings.fit.epochs}"
        self.terminal.print(f"{epoch}   {parts}   lr {number(record.lr)}{best}")
        for finding in record.health.findings if record.health is not None else ():
            self.terminal.print(f"[yellow]health     epoch {finding.epoch}: {escape(finding.text)}[/yellow]")

    def verdict(self, checked: Checked) -> None:
        """One line for a check that found nothing wrong, else the tables of what is."""
        if checked.report.ok:
            self._verified(checked)
        else:
            self.tables(checked, only_wrong=True)

    def tables(self, checked: Checked, only_wrong: bool = False) -> None:
        """The calls of a check, each with its source, the parameters end to end, and the step."""
        report = checked.report
        if not report.finite:  # the error that follows says it
            return
        for titles, rows in (
            (("verdict", "call", "module", "source", "error", "digits"), report.gradients.rows()),
            (("verdict", "end to end", "error", "digits"), report.gradients.end_rows()),
            (("verdict", "step", "error", "digits"), report.rows()),
        ):
            table = self.terminal.table(*titles, right=("error", "digits"))
            for verdict, *cells in rows:
                if not only_wrong or failed(verdict, report.gradients.strict):
                    table.add_row(_coloured(verdict), *map(escape, cells))
            if table.rows:
                self.terminal.print(table)
        if report.ok:  # else the error that follows says it
            self._verified(checked)

    def _verified(self, checked: Checked) -> None:
        extent = f" on {checked.rows} of {checked.batch} rows" if checked.rows < checked.batch else ""
        report, when = checked.report, f"step {checked.step + 1}: " if checked.step else ""
        colour = COLOURS[report.verdict]
        self.terminal.print(f"{when}[{colour}]{escape(report.summary())}[/{colour}] {checked.seconds:.1f} s{extent}")

    def closing(self, run: Run, summary: dict[str, Any], path: Path) -> None:
        """The results, and where they lie."""
        best, test = summary.get("best", {}), summary.get("test", {})
        part = "validation" if "validation" in best else "train"
        rows = {f"{part} (best)": best.get(part), "test": test}
        names = list(test or best.get(part, {}))
        table = self.terminal.table("part", *names)
        for row, scores in rows.items():
            if scores:
                table.add_row(row, *(number(scores.get(name)) for name in names))
        if table.rows:
            self.terminal.print(table)
        early = f", stopped early: {summary['stopped_early']}" if summary.get("stopped_early") else ""
        steps = f"{summary['steps']:,} step{'' if summary['steps'] == 1 else 's'}"
        self.terminal.print(
            f"{steps} in {summary['seconds']:.1f} s ({summary['samples_per_second']:,.0f} samples/s)"
            f"{early}; best epoch {best.get('epoch')}; seed {run.settings.seed}"
        )
        self.terminal.print(f"run        {escape(str(path))}")


def _layers(run: Run) -> Iterator[tuple[str, str, int]]:
    """Name, kind and parameters of every module that has parameters of its own or none below it."""
    for name, module in run.state.model.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        empty = type(module).__name__ == "Sequential"  # a model may have room for layers that its config leaves out
        if own or not (empty or any(True for _ in module.children())):
            yield name, str(module).splitlines()[0], own


def _named(component: Any) -> str:
    return f"{component.name} (lr {number(component.lr)})" if hasattr(component, "lr") else component.name


def _scores(scores: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4f}" for name, value in scores.items())


def _coloured(verdict: str) -> str:
    colour = COLOURS.get(verdict, "red")
    return f"[{colour}]{verdict}[/{colour}]"
