"""What a check found: a verdict for every call and parameter, as an object, a table and JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bptrain.check.reproduction import Evidence, save
from bptrain.check.tolerance import GradientError, digits
from bptrain.check.verdict import PROVED, failed, worst
from bptrain.check.wiring import WiringFault
from bptrain.errors import GradientsWrong, Problem, RequestError

EXCESS = 0.5  # digits lost beyond float32 sums that are worth a sentence
LOST = 1.0  # digits lost in all that are


@dataclass(frozen=True)
class CallReport:
    """One call of a torch function: how its backward did, given the output gradient that it got.

    `gradients` is keyed by the name of the argument. `arbiter` says who differences found right
    where the two sides disagree, why a call could not be verified, or why its gradient is no derivative by design.
    `kinks` counts the elements on a kink or tie, where torch's convention decides.
    """

    function: str
    path: str  # of the module that made the call
    source: str  # file:line
    verdict: str
    gradients: dict[str, GradientError]
    arbiter: str = ""
    kinks: int = 0
    evidence: Evidence | None = field(default=None, repr=False, compare=False)  # of a wrong call

    @property
    def error(self) -> float:
        return _most(self.gradients.values())

    @property
    def digits(self) -> float:
        return digits(self.error)

    @property
    def expected(self) -> float:
        """The decimal digits that the dtype of the worst gradient has."""
        return _expected(self.gradients.values())


@dataclass(frozen=True)
class GradientReport:
    """All that one check found. `parameters`, `inputs` and `output` (the loss) come from the end-to-end pass.

    `finite` is False where the loss, or an output, had overflowed or was NaN before any gradient was taken. `wiring`
    says between which calls a gradient gets lost or changed.
    """

    calls: list[CallReport]
    parameters: dict[str, GradientError]
    inputs: dict[str, GradientError] = field(default_factory=dict)
    output: GradientError | None = None
    finite: bool = True
    wiring: list[WiringFault] = field(default_factory=list)
    strict: bool = False

    @property
    def verdict(self) -> str:
        """The worst verdict of all calls, parameters, inputs and the loss."""
        ends = [*self.parameters.values(), *self.inputs.values(), *([self.output] if self.output else [])]
        return worst([call.verdict for call in self.calls] + [end.verdict for end in ends])

    @property
    def ok(self) -> bool:
        return not failed(self.verdict, self.strict)

    @property
    def culprits(self) -> list[CallReport]:
        """The calls that are wrong themselves, in the order of the backward pass."""
        return [call for call in reversed(self.calls) if failed(call.verdict, self.strict)]

    @property
    def broken(self) -> list[str]:
        """The parameters and inputs whose gradient is wrong end to end."""
        ends = {**self.parameters, **self.inputs, **({"output": self.output} if self.output else {})}
        return [name for name, end in ends.items() if failed(end.verdict, self.strict)]

    @property
    def coverage(self) -> dict[str, float]:
        """Share of the calls, and of the parameters, that hand-written rules verified."""
        return {
            "calls": _share([call.verdict for call in self.calls]),
            "parameters": _share([end.verdict for end in self.parameters.values()]),
        }

    @property
    def error(self) -> float:
        """The largest relative error of any gradient, of a call or end to end, in the run's own dtype."""
        return _most(self._all())

    @property
    def digits(self) -> float:
        """The decimal digits that the worst gradient has left in the run's own dtype."""
        return digits(self.error)

    @property
    def expected(self) -> float:
        """The decimal digits that the dtype of the worst gradient has."""
        return _expected(self._all())

    @property
    def kinks(self) -> int:
        """Elements on a kink or tie, where torch's convention decides."""
        return sum(call.kinks for call in self.calls)

    @property
    def losses(self) -> list[tuple[str, GradientError]]:
        """The gradients end to end by name, those that have lost most digits first."""
        ends = {**self.parameters, **self.inputs}
        return sorted(ends.items(), key=lambda end: -end[1].lost)

    def _all(self) -> list[GradientError]:
        local = [gradient for call in self.calls for gradient in call.gradients.values()]
        return [*local, *self.parameters.values(), *self.inputs.values()]

    def save_repro(self, path: str | Path) -> None:
        """Writes a script and its tensors to the folder `path`: the first culprit's fault, without bptrain.

        Raises RequestError where no call is wrong by itself, or where the call can't be written out.
        """
        shown = next((call for call in self.culprits if call.evidence is not None), None)
        if shown is None or shown.evidence is None:
            raise RequestError(Problem("save_repro", "no call is wrong by itself, so none can be shown apart."))
        save(shown.evidence, Path(path), self._fault(shown))

    def raise_if_wrong(self) -> None:
        """Raises GradientsWrong, with the table, unless `ok`."""
        if not self.ok:
            raise GradientsWrong(str(self))

    def to_json(self) -> dict[str, Any]:
        """The certificate as plain data."""
        return {
            "verdict": self.verdict,
            "coverage": self.coverage,
            "error": _number(self.error),
            "digits": _number(self.digits),
            "expected": _number(self.expected),
            "kinks": self.kinks,
            "wiring": [dataclasses.asdict(fault) for fault in self.wiring],
            "output": plain(self.output) if self.output else None,
            "parameters": {name: plain(end) for name, end in self.parameters.items()},
            "inputs": {name: plain(end) for name, end in self.inputs.items()},
            "calls": [
                {
                    "function": call.function,
                    "path": call.path,
                    "source": call.source,
                    "verdict": call.verdict,
                    "arbiter": call.arbiter,
                    "kinks": call.kinks,
                    "gradients": {name: plain(gradient) for name, gradient in call.gradients.items()},
                }
                for call in self.calls
            ],
        }

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Verdict, call, module, source, largest error and digits left, a row for every call."""
        return [(c.verdict, c.function, c.path, c.source, *figures(c.error, c.expected)) for c in self.calls]

    def end_rows(self) -> list[tuple[str, str, str, str]]:
        """Verdict, name, error and digits left, a row for every parameter and input."""
        ends = {**self.parameters, **self.inputs}
        return [(e.verdict, name, *figures(e.error, e.expected)) for name, e in ends.items()]

    def __str__(self) -> str:
        calls = [("verdict", "call", "module", "source", "error", "digits"), *self.rows()]
        ends = [("verdict", "end to end", "error", "digits"), *self.end_rows()]
        return "\n".join([*aligned(calls), *aligned(ends), self.summary()])

    def summary(self) -> str:
        """One sentence: the verdict, what it covers, and the digits left; or what is wrong and where."""
        if not self.ok:
            first, *others = self._faults()
            return f"Gradients are wrong: {first}" + (f"; and {len(others)} more." if others else ".")
        covered = sum(call.verdict in PROVED for call in self.calls)
        end = sum(e.verdict in PROVED for e in self.parameters.values())
        left = "" if math.isnan(self.digits) else f"; at least {self.digits:.1f} of {self.expected:.1f} digits agree"
        return (
            f"Gradients {self.verdict}: {covered} of {len(self.calls)} calls and {end} of {len(self.parameters)} "
            f"parameters against the hand-written backprop{left}." + "".join(f" {note}" for note in self.notes())
        )

    def notes(self) -> list[str]:
        """Sentences on what is no fault, but worth knowing: kinks, lost digits, gradients cut off."""
        found = []
        if self.kinks:
            found.append(f"{self.kinks:,} elements on a kink or tie, where torch's convention was compared.")
        found += [f"Cut {fault} (for {_listed(fault.parameters)})." for fault in self.wiring]
        for what in ("underflow", "overflow"):
            counts = {name: getattr(end, what) for name, end in {**self.parameters, **self.inputs}.items()}
            lost = {name: count for name, count in counts.items() if count}
            if lost:
                found.append(
                    f"{what.capitalize()} in " + ", ".join(f"{n} ({c:,} elements)" for n, c in lost.items()) + "."
                )
        for call in self.calls:
            excess = max((g.excess for g in call.gradients.values()), default=0.0)
            if excess >= EXCESS:
                found.append(
                    f"{call.function} at {call.source} loses {excess:.1f} digits more than sums in float32 would."
                )
        worst_ends = [(name, end) for name, end in self.losses[:3] if end.lost >= LOST]
        if worst_ends:
            each = (f"{name}: {end.digits:.1f} digits of {end.expected:.1f} expected" for name, end in worst_ends)
            found.append("Fewest digits: " + ", ".join(each) + ".")
        return found

    def _faults(self) -> list[str]:
        faults = [self._fault(call) for call in self.culprits]
        if not faults and self.wiring:
            faults = [f"no call by itself, but {fault}" for fault in self.wiring]
        if not faults:
            faults = [
                f"no call by itself, but end to end {', '.join(self.broken)}: the way the calls are joined is wrong"
            ]
        return faults

    def _fault(self, call: CallReport) -> str:
        wrong = {name: g for name, g in call.gradients.items() if failed(g.verdict, self.strict)}
        return (
            f"{call.function} at {call.source or 'an unknown line'}"
            + (f" in {call.path}" if call.path else "")
            + f" is {call.verdict}, error {_most(wrong.values()):.1e} in "
            + ", ".join(f"{name} ({g.fault})" if g.fault else name for name, g in wrong.items())
            + (f" ({call.arbiter})" if call.arbiter else "")
        )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(widths[i]) for i, cell in enumerate(row)).rstrip() for row in rows]


def figures(error: float, expected: float) -> tuple[str, str]:
    """An error, and its digits of those expected, as text; '-' where nothing could be compared."""
    if math.isnan(error):
        return "-", "-"
    return f"{error:.1e}", f"{min(digits(error), expected):.1f} of {expected:.1f}"


def plain(gradient: GradientError) -> dict[str, Any]:
    plain = {**dataclasses.asdict(gradient), "digits": gradient.digits}
    return {key: _number(value) if isinstance(value, float) else value for key, value in plain.items()}


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _worst(errors: Iterable[GradientError]) -> GradientError | None:
    """The gradient with the fewest digits left of those that its dtype has; None of those that vanish."""
    told = [e for e in errors if not (math.isnan(e.error) or e.vanishes)]
    return max(told, key=lambda e: (failed(e.verdict), e.error), default=None)


def _most(errors: Iterable[GradientError]) -> float:
    """The largest error that is a number; NaN of none."""
    found = _worst(errors)
    return found.error if found is not None else math.nan


def _expected(errors: Iterable[GradientError]) -> float:
    found = _worst(errors)
    return found.expected if found is not None else math.nan


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _share(verdicts: list[str]) -> float:
    return sum(verdict in PROVED for verdict in verdicts) / len(verdicts) if verdicts else 1.0
