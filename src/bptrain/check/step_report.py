"""What a check of one training step found, as an object, a table and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bptrain.check.figures import aligned, figures, plain
from bptrain.check.optimizer_report import OptimizerReport
from bptrain.check.rates import SteppedRate
from bptrain.check.report import GradientReport
from bptrain.check.stepped_gradient import SteppedGradient
from bptrain.check.tolerance import GradientError
from bptrain.check.verdict import CONTRACT, failed, worst
from bptrain.errors import GradientsWrong

Errors = dict[str, GradientError]


@dataclass(frozen=True)
class StepReport:
    """One step of training against the same step by hand.

    `gradients` are autograd's, of that batch of the step which came out worst. The rest is there once the step was
    made: `loss` is what the engine says it was, `stepped` the gradients that the optimizer got,
    `rates` the learning rate of each parameter group, `update` what it made of them, `buffers` those of the model
    afterwards. `note` says what could not be compared and why.
    """

    gradients: GradientReport
    loss: GradientError | None = None
    stepped: SteppedGradient | None = None
    rates: list[SteppedRate] = field(default_factory=list)
    update: OptimizerReport | None = None
    buffers: Errors = field(default_factory=dict)
    note: str = ""

    @property
    def verdict(self) -> str:
        """The worst verdict of all parts."""
        update = [self.update.verdict] if self.update is not None else []
        return worst([self.gradients.verdict, *update, *(error.verdict for error in self._errors())])

    @property
    def ok(self) -> bool:
        return not failed(self.verdict, self.gradients.strict)

    @property
    def finite(self) -> bool:
        """Whether the loss was, before the step."""
        return self.gradients.finite

    def raise_if_wrong(self) -> None:
        """Raises GradientsWrong, with the tables, unless `ok`."""
        if not self.ok:
            raise GradientsWrong(str(self))

    def to_json(self) -> dict[str, Any]:
        """The certificate as plain data: that of the gradients, and what the step did with them."""
        stepped = self.stepped
        return self.gradients.to_json() | {
            "verdict": self.verdict,
            "loss": plain(self.loss) if self.loss else None,
            "stepped": {name: plain(error) for name, error in stepped.parameters.items()} if stepped else {},
            "clip": plain(stepped.clip) | {"factor": stepped.factor} if stepped and stepped.clip else None,
            "rates": [rate.to_json() for rate in self.rates],
            "update": self.update.to_json() if self.update else None,
            "buffers": {name: plain(error) for name, error in self.buffers.items()},
            "note": self.note,
        }

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Verdict, what was compared, error and digits left: a row for each part of the step, by its worst."""
        rows = []
        for words, errors in self._parts():
            found = _worst(errors)
            rows.append((worst(error.verdict for error in errors), words, *figures(found)))
        if self.update is not None and self.update.entries:
            ulps = f"{max(e.ulps for e in self.update.entries):.2g} ULPs"
            rows.append((self.update.verdict, f"update of {self.update.optimizer}", ulps, "-"))
        elif self.update is not None:
            rows.append((self.update.verdict, f"update of {self.update.optimizer}", "-", "-"))
        return rows

    def summary(self) -> str:
        """One sentence on the gradients and one on the step; or what is wrong."""
        if not self.gradients.ok or not self.rows():
            return self.gradients.summary() + self._noted()
        faults = self._faults()
        if faults:
            return "The step is wrong: " + "; ".join(faults) + "."
        words = [what for _, what, *_ in self.rows()]
        verdict = worst(verdict for verdict, *_ in self.rows())
        return f"{self.gradients.summary()} Step {verdict}: {', '.join(words)}.{self._noted()}"

    def __str__(self) -> str:
        rows = aligned([("verdict", "step", "error", "digits"), *self.rows()]) if self.rows() else []
        return "\n".join([str(self.gradients), *rows, self.summary()])

    def _noted(self) -> str:
        update = self.update.note if self.update is not None else ""
        notes = [f"Not compared: {note}" for note in (self.note, update) if note]
        by_contract = {name: error for name, error in self.buffers.items() if error.verdict == CONTRACT}
        if by_contract:
            notes.append(f"{_names(by_contract)}: {next(iter(by_contract.values())).fault}")
        return "".join(f" {note}." for note in notes)

    def _errors(self) -> list[GradientError]:
        return [error for _, errors in self._parts() for error in errors]

    def _parts(self) -> list[tuple[str, list[GradientError]]]:
        """What was compared of the step itself, but for the update."""
        parts = []
        if self.loss is not None:
            parts.append(("loss", [self.loss]))
        if self.stepped is not None and self.stepped.parameters:
            parts.append((f"{len(self.stepped.parameters)} gradients", list(self.stepped.parameters.values())))
        if self.stepped is not None and self.stepped.clip is not None:
            parts.append((f"clip factor {self.stepped.factor:.4g}", [self.stepped.clip]))
        if self.buffers:
            parts.append((f"{len(self.buffers)} buffers", list(self.buffers.values())))
        if self.rates:
            one = f"learning rate {self.rates[0].due:.4g}"
            words = one if len(self.rates) == 1 else f"{len(self.rates)} learning rates"
            parts.append((words, [rate.error for rate in self.rates]))
        return parts

    def _faults(self) -> list[str]:
        strict, faults = self.gradients.strict, []
        if self.loss is not None and failed(self.loss.verdict, strict):
            faults.append(f"the loss that the engine gives is off by {self.loss.error:.1e}{_words(self.loss)}")
        if self.stepped is not None:
            wrong = _wrong(self.stepped.parameters, strict)
            if wrong:
                said = self.stepped.fault or "; ".join({e.fault for e in wrong.values() if e.fault})
                faults.append(f"the gradients of {_names(wrong)}" + (f": {said}" if said else ""))
            clip = self.stepped.clip
            if clip is not None and failed(clip.verdict, strict):
                faults.append(f"the clip factor, which is {self.stepped.factor:.6g}, is off by {clip.error:.1e}")
        faults += [str(rate) for rate in self.rates if failed(rate.error.verdict, strict)]
        if self.update is not None and failed(self.update.verdict, strict):
            faults.append(self.update.summary().rstrip("."))
        wrong = _wrong(self.buffers, strict)
        if wrong:
            faults.append("buffers " + ", ".join(f"{name}{_words(error)}" for name, error in wrong.items()))
        return faults


def _worst(errors: Iterable[GradientError]) -> GradientError:
    return max(errors, key=lambda e: (failed(e.verdict), not (math.isnan(e.error) or e.vanishes), e.error))


def _wrong(errors: Errors, strict: bool) -> Errors:
    return {name: error for name, error in errors.items() if failed(error.verdict, strict)}


def _names(errors: Errors) -> str:
    first = list(errors)[:3]
    return ", ".join(first) + (f" and {len(errors) - 3} more" if len(errors) > 3 else "")


def _words(error: GradientError) -> str:
    return f" ({error.fault})" if error.fault else ""
