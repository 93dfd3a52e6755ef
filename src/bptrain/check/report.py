"""What a check found: a verdict for every call and parameter, as an object, a table and JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bptrain.check.tolerance import GradientError, digits
from bptrain.check.verdict import VERIFIED, failed, worst
from bptrain.errors import GradientsWrong


@dataclass(frozen=True)
class CallReport:
    """One call of a torch function: how its backward did, given the output gradient that it got.

    `gradients` is keyed by the name of the argument. `arbiter` says who differences found right
    where the two sides disagree, or why a call could not be verified.
    """

    function: str
    path: str  # of the module that made the call
    source: str  # file:line
    verdict: str
    gradients: dict[str, GradientError]
    arbiter: str = ""

    @property
    def error(self) -> float:
        return _most(g.error for g in self.gradients.values())

    @property
    def digits(self) -> float:
        return digits(self.error)


@dataclass(frozen=True)
class GradientReport:
    """All that one check found. `parameters`, `inputs` and `output` (the loss) come from the end-to-end pass.

    `finite` is False where the loss, or an output, had overflowed or was NaN before any gradient was taken.
    """

    calls: list[CallReport]
    parameters: dict[str, GradientError]
    inputs: dict[str, GradientError] = field(default_factory=dict)
    output: GradientError | None = None
    finite: bool = True
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
        ends = [*self.parameters.values(), *self.inputs.values()]
        return _most([call.error for call in self.calls] + [end.error for end in ends])

    @property
    def digits(self) -> float:
        """The decimal digits that the worst gradient has left in the run's own dtype."""
        return digits(self.error)

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
            "output": _plain(self.output) if self.output else None,
            "parameters": {name: _plain(end) for name, end in self.parameters.items()},
            "inputs": {name: _plain(end) for name, end in self.inputs.items()},
            "calls": [
                {
                    "function": call.function,
                    "path": call.path,
                    "source": call.source,
                    "verdict": call.verdict,
                    "arbiter": call.arbiter,
                    "gradients": {name: _plain(gradient) for name, gradient in call.gradients.items()},
                }
                for call in self.calls
            ],
        }

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Verdict, call, module, source, largest error and digits left, a row for every call."""
        return [(c.verdict, c.function, c.path, c.source, *figures(c.error)) for c in self.calls]

    def __str__(self) -> str:
        calls = [("verdict", "call", "module", "source", "error", "digits"), *self.rows()]
        ends = [("verdict", "end to end", "error", "digits")]
        ends += [(e.verdict, name, *figures(e.error)) for name, e in {**self.parameters, **self.inputs}.items()]
        return "\n".join([*_aligned(calls), *_aligned(ends), self.summary()])

    def summary(self) -> str:
        """One sentence: the verdict, what it covers, and the digits left; or what is wrong and where."""
        if not self.ok:
            first, *others = self._faults()
            return f"Gradients are wrong: {first}" + (f"; and {len(others)} more." if others else ".")
        covered = sum(call.verdict == VERIFIED for call in self.calls)
        end = sum(e.verdict == VERIFIED for e in self.parameters.values())
        left = "" if math.isnan(self.digits) else f"; at least {self.digits:.1f} digits agree"
        return (
            f"Gradients {self.verdict}: {covered} of {len(self.calls)} calls and {end} of {len(self.parameters)} "
            f"parameters against the hand-written backprop{left}."
        )

    def _faults(self) -> list[str]:
        faults = [
            f"{call.function} at {call.source or 'an unknown line'}"
            + (f" in {call.path}" if call.path else "")
            + f" is {call.verdict}, error {call.error:.1e} in "
            + ", ".join(name for name, g in call.gradients.items() if failed(g.verdict, self.strict))
            + (f" ({call.arbiter})" if call.arbiter else "")
            for call in self.culprits
        ]
        if not faults:
            faults = [
                f"no call by itself, but end to end {', '.join(self.broken)}: the way the calls are joined is wrong"
            ]
        return faults


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(widths[i]) for i, cell in enumerate(row)).rstrip() for row in rows]


def figures(error: float) -> tuple[str, str]:
    """An error and its digits as text, '-' where nothing could be compared."""
    return ("-", "-") if math.isnan(error) else (f"{error:.1e}", f"{digits(error):.1f}")


def _plain(gradient: GradientError) -> dict[str, Any]:
    plain = {**dataclasses.asdict(gradient), "digits": gradient.digits}
    return {key: _number(value) if isinstance(value, float) else value for key, value in plain.items()}


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _most(errors: Iterable[float]) -> float:
    """The largest error that is a number; NaN of none."""
    return max((e for e in errors if not math.isnan(e)), default=math.nan)


def _share(verdicts: list[str]) -> float:
    return sum(verdict == VERIFIED for verdict in verdicts) / len(verdicts) if verdicts else 1.0
