"""Coverage: what a check finds on every sample of every class of torch.nn."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.check.gradients import check_gradients
from bptrain.check.report import GradientReport
from bptrain.check.samples import Sample, computing_classes, samples
from bptrain.check.verdict import PROVED, failed, worst

CROSS_MAP = (
    "CrossMapLRN2d is tried where each channel is around all others. Elsewhere torch's own backward of it (2.13) is "
    "wrong, as differences find too: there the check says `wrong`."
)


@dataclass
class Row:
    """A class: how many samples of it came to which verdict, and the largest error that a gradient had."""

    name: str
    verdicts: Counter = field(default_factory=Counter)
    error: float = 0.0
    arbiters: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)  # labels of the samples
    skipped: int = 0  # samples whose outputs are not finite


class _Bound(nn.Module):
    """A module with all arguments fixed but those that may have a gradient."""

    def __init__(self, sample: Sample) -> None:
        super().__init__()
        self.module, self.args, self.kwargs = sample.module, sample.args, sample.kwargs
        self.training = sample.module.training

    def forward(self, *given: Tensor) -> Any:
        remaining = iter(given)
        args = [next(remaining) if _differentiable(x) else x for x in self.args]
        return self.module(*args, **self.kwargs)


def check_sample(sample: Sample) -> GradientReport:
    """The report on one sample: its float arguments are the inputs, but for the target of a loss."""
    inputs = tuple(x for x in sample.args if _differentiable(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated forms that the samples use on purpose
        try:
            return check_gradients(_Bound(sample), inputs)
        except RuntimeError as error:
            if "cannot require" not in str(error) and "not differentiable" not in str(error):
                raise
            first, *rest = sample.args
            bound = Sample(sample.name, sample.label, _Rest(sample.module, tuple(rest)), (first,), sample.kwargs)
            return check_gradients(_Bound(bound), (first,))


class _Rest(nn.Module):
    """A module whose arguments after the first are constants."""

    def __init__(self, module: nn.Module, rest: tuple) -> None:
        super().__init__()
        self.module, self.rest = module, rest

    def forward(self, x: Tensor, **kwargs: Any) -> Any:
        return self.module(x, *self.rest, **kwargs)


def coverage(dtypes: Iterable[torch.dtype] = (torch.float64,)) -> list[Row]:
    """A row for each class that computes, in alphabetical order; classes without a sample have an empty one."""
    rows = {name: Row(name) for name in sorted(computing_classes())}
    for dtype in dtypes:
        for sample in samples(dtype):
            row, report = rows[sample.name], check_sample(sample)
            if not report.finite:
                row.skipped += 1
                continue
            row.verdicts[report.verdict] += 1
            row.error = max(row.error, report.error)  # NaN, of a class without parameters, is never the larger
            row.arbiters |= {call.arbiter for call in report.calls if call.arbiter}
            if failed(report.verdict):
                row.wrong.append(sample.label)
    return list(rows.values())


def table(rows: list[Row]) -> str:
    """The rows as a page of Markdown."""
    lines = [
        "# Coverage",
        "",
        "Every class of torch.nn that computes, checked on torch's own samples of it (ours where torch has none).",
        "Made by `python -m bptrain.reference`; the error is the largest relative one of any gradient, in float64.",
        "",
        "| class | option cells tried | verdict | worst error | arbiter |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        verdict = worst(row.verdicts) if row.verdicts else "no sample"
        lines.append(
            f"| {row.name} | {row.verdicts.total()} | {verdict} | {row.error:.1e} | {'; '.join(sorted(row.arbiters))} |"
        )
    verified = sum(set(row.verdicts) <= set(PROVED) for row in rows if row.verdicts)
    total = sum(row.verdicts.total() for row in rows)
    skipped = sum(row.skipped for row in rows)
    proved = f"{verified} of {len(rows)} classes verified, or equal to their contract, on all of {total} samples"
    lines += ["", f"{proved}; {skipped} are not finite.", "", CROSS_MAP]
    return "\n".join(lines)


def _differentiable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()
