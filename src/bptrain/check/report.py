"""What a check found: a verdict for every call and parameter, as an object, a table and JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bptrain.check import sentences
from bptrain.check.figures import aligned, figures, number, plain
from bptrain.check.reproduction import Evidence, save
from bptrain.check.tolerance import GradientError, digits, least_exact
from bptrain.check.verdict import PROVED, failed, worst
from bptrain.check.wiring import WiringFault
from bptrain.errors import GradientsWrong, Problem, RequestError


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
    def worst(self) -> GradientError | None:
        """The gradient with the largest error."""
        return least_exact(self.gradients.values())

    @property
    def error(self) -> float:
        return self.worst.error if self.worst else math.nan

    @property
    def digits(self) -> float:
        return digits(self.error)


@dataclass(frozen=True)
class GradientReport:
    """All that one check found. `parameters`, `inputs` and `output` (the loss) come from the end-to-end pass.

    `finite` is False where the loss, or an output, had overflowed or was NaN before any gradient was taken. `wiring`
    says between which calls a gradient gets lost or changed. `compiled` holds the gradients and outputs of a
    torch.compile'd model, `calls` and the rest are those of the same code run eagerly.
    """

    calls: list[CallReport]
    parameters: dict[str, GradientError]
    inputs: dict[str, GradientError] = field(default_factory=dict)
    output: GradientError | None = None
    finite: bool = True
    wiring: list[WiringFault] = field(default_factory=list)
    compiled: dict[str, GradientError] = field(default_factory=dict)
    strict: bool = False

    @property
    def verdict(self) -> str:
        """The worst verdict of all calls, parameters, inputs and the loss."""
        ends = [*self.parameters.values(), *self.inputs.values(), *([self.output] if self.output else [])]
        ends += self.compiled.values()
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
        return self.worst.error if self.worst else math.nan

    @property
    def digits(self) -> float:
        """The decimal digits that the worst gradient has left in the run's own dtype."""
        return digits(self.error)

    @property
    def expected(self) -> float:
        """The decimal digits that the dtype of the worst gradient has."""
        return self.worst.expected if self.worst else math.nan

    @property
    def kinks(self) -> int:
        """Elements on a kink or tie, where torch's convention decides."""
        return sum(call.kinks for call in self.calls)

    @property
    def losses(self) -> list[tuple[str, GradientError]]:
        """The gradients end to end by name, those that have lost most digits first."""
        ends = {**self.parameters, **self.inputs}
        return sorted(ends.items(), key=lambda end: -end[1].lost)

    @property
    def worst(self) -> GradientError | None:
        """The gradient with the largest error, of a call or end to end."""
        local = [gradient for call in self.calls for gradient in call.gradients.values()]
        return least_exact([*local, *self.parameters.values(), *self.inputs.values()])

    def save_repro(self, path: str | Path) -> None:
        """Writes a script and its tensors to the folder `path`: the first culprit's fault, without bptrain.

        Raises RequestError where no call is wrong by itself, or where the call can't be written out.
        """
        shown = next((call for call in self.culprits if call.evidence is not None), None)
        if shown is None or shown.evidence is None:
            raise RequestError(Problem("save_repro", "no call is wrong by itself, so none can be shown apart."))
        save(shown.evidence, Path(path), sentences.fault(shown, self.strict))

    def raise_if_wrong(self) -> None:
        """Raises GradientsWrong, with the table, unless `ok`."""
        if not self.ok:
            raise GradientsWrong(str(self))

    def to_json(self) -> dict[str, Any]:
        """The certificate as plain data."""
        return {
            "verdict": self.verdict,
            "coverage": self.coverage,
            "error": number(self.error),
            "digits": number(self.digits),
            "expected": number(self.expected),
            "kinks": self.kinks,
            "wiring": [dataclasses.asdict(fault) for fault in self.wiring],
            "output": plain(self.output) if self.output else None,
            "compiled": {name: plain(end) for name, end in self.compiled.items()},
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

    def rows(self) -> list[tuple[str, ...]]:
        """Verdict, call, module, source, largest error and digits left, a row for every call."""
        return [(c.verdict, c.function, c.path, c.source, *figures(c.worst)) for c in self.calls]

    def end_rows(self) -> list[tuple[str, ...]]:
        """Verdict, name, error and digits left, a row for every parameter and input, and what was compiled."""
        ends = {**self.parameters, **self.inputs, **{f"compiled {name}": end for name, end in self.compiled.items()}}
        return [(e.verdict, name, *figures(e)) for name, e in ends.items()]

    def __str__(self) -> str:
        calls = [("verdict", "call", "module", "source", "error", "digits"), *self.rows()]
        ends = [("verdict", "end to end", "error", "digits"), *self.end_rows()]
        return "\n".join([*aligned(calls), *aligned(ends), self.summary()])

    def summary(self) -> str:
        """A sentence: the verdict, what it covers, and the digits left; or what is wrong and where."""
        return sentences.summary(self)


def _share(verdicts: list[str]) -> float:
    return sum(verdict in PROVED for verdict in verdicts) / len(verdicts) if verdicts else 1.0
