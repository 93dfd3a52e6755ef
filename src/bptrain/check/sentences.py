"""Sentences: what a check found, for a person to read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bptrain.check.tolerance import least_exact
from bptrain.check.verdict import PROVED, UNVERIFIED, failed

if TYPE_CHECKING:
    from bptrain.check.report import CallReport, GradientReport

EXCESS = 0.5  # digits lost beyond float32 sums that are worth a sentence
LOST = 0.25  # share of a dtype's digits whose loss is


def summary(report: GradientReport) -> str:
    """The verdict, what it covers, the digits left and what else is worth knowing; or what is wrong and where."""
    if not report.ok:
        first, *others = _faults(report)
        return f"Gradients are wrong: {first}" + (f"; and {len(others)} more." if others else ".")
    covered = sum(call.verdict in PROVED for call in report.calls)
    end = sum(e.verdict in PROVED for e in report.parameters.values())
    left = "" if math.isnan(report.digits) else f"; at least {_digits(report.digits, report.expected)} digits agree"
    verdict = (
        f"Gradients {report.verdict}: {covered} of {len(report.calls)} calls and {end} of {len(report.parameters)} "
        f"parameters against the hand-written backprop{left}."
    )
    return " ".join([verdict, *_notes(report)])


def fault(call: CallReport, strict: bool) -> str:
    """Which call is wrong, where it was made, in which gradients, how, and who says so."""
    wrong = {name: g for name, g in call.gradients.items() if failed(g.verdict, strict)}
    worst = least_exact(wrong.values())
    size = f", error {worst.error:.1e} in " if worst else " in " if wrong else ""
    return (
        f"{call.function} at {call.source or 'an unknown line'}"
        + (f" in {call.path}" if call.path else "")
        + f" is {call.verdict}{size}"
        + ", ".join(f"{name} ({g.fault})" if g.fault else name for name, g in wrong.items())
        + (f" ({call.arbiter})" if call.arbiter else "")
    )


def _faults(report: GradientReport) -> list[str]:
    faults = [fault(call, report.strict) for call in report.culprits]
    faults += [
        f"compiled, {name} is {end.verdict}, error {end.error:.1e} ({end.fault})"
        for name, end in report.compiled.items()
        if failed(end.verdict, report.strict)
    ]
    if not faults:
        faults = [f"no call by itself, but {link}" for link in report.wiring]
    if not faults:
        broken = ", ".join(report.broken)
        faults = [f"no call by itself, but end to end {broken}: the way the calls are joined is wrong"]
    return faults


def _notes(report: GradientReport) -> Iterator[str]:
    """What is no fault, but worth knowing: kinks, gradients cut off, lost digits."""
    if report.kinks:
        yield f"{report.kinks:,} elements on a kink or tie, compared by torch's convention."
    for name, end in report.compiled.items():
        if end.verdict == UNVERIFIED:
            yield f"Compiled, {name} is {end.verdict}: {end.fault}."
    for link in report.wiring:
        yield f"Cut {link} (for {_listed(link.parameters)})."
    ends = {**report.parameters, **report.inputs}
    for what in ("underflow", "overflow"):
        lost = [f"{name} ({getattr(end, what):,} elements)" for name, end in ends.items() if getattr(end, what)]
        if lost:
            yield f"{what.capitalize()} in {_listed(lost)}."
    for call in report.calls:
        excess = max((g.excess for g in call.gradients.values()), default=0.0)
        if excess >= EXCESS:
            yield f"{call.function} at {call.source} loses {excess:.1f} digits more than sums in float32 would."
    fewest = [(name, end) for name, end in report.losses[:3] if end.lost >= LOST * end.expected]
    if fewest:
        each = [f"{name}: {end.digits:.1f} digits of {end.expected:.1f} expected" for name, end in fewest]
        yield f"Fewest digits: {', '.join(each)}."


def _digits(found: float, expected: float) -> str:
    return f"{min(found, expected):.1f} of {expected:.1f}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
