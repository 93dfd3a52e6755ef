"""What a check of an optimizer found: a verdict for every parameter and every entry of its state."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from bptrain.check.update import PARAMETER
from bptrain.check.verdict import VERIFIED, failed, worst
from bptrain.errors import GradientsWrong


@dataclass(frozen=True)
class EntryReport:
    """A parameter, or one entry of its state, over all steps.

    `ulps` is the farthest that an element was from the hand-written update, in ULPs of `dtype`; `bias` the error that
    all have in common, relative to the change; each with what rounding explains at that step. `step` counts from 1:
    the first that was wrong, else the one with most ULPs.
    """

    parameter: str
    entry: str
    verdict: str
    step: int
    ulps: float
    explained: float
    bias: float
    bias_explained: float
    dtype: str
    fault: str = ""


@dataclass(frozen=True)
class OptimizerReport:
    """All that one check of an optimizer found. `note` says why there is nothing, where there is nothing."""

    optimizer: str
    steps: int
    entries: list[EntryReport] = field(default_factory=list)
    note: str = ""

    @property
    def verdict(self) -> str:
        """The worst verdict of all entries; without any, `unverified`."""
        return worst(entry.verdict for entry in self.entries)

    @property
    def ok(self) -> bool:
        return not failed(self.verdict)

    @property
    def culprits(self) -> list[EntryReport]:
        """The entries that are wrong, those that went wrong first first."""
        return sorted((e for e in self.entries if failed(e.verdict)), key=lambda e: e.step)

    @property
    def ulps(self) -> dict[str, float]:
        """The worst error of each parameter itself."""
        return {e.parameter: e.ulps for e in self.entries if e.entry == PARAMETER}

    def raise_if_wrong(self) -> None:
        """Raises GradientsWrong, with the table, unless `ok`."""
        if not self.ok:
            raise GradientsWrong(str(self))

    def to_json(self) -> dict[str, Any]:
        """The report as plain data; JSON has no infinity."""
        entries = [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in vars(entry).items()}
            for entry in self.entries
        ]
        plain = {"optimizer": self.optimizer, "verdict": self.verdict, "steps": self.steps, "note": self.note}
        return {**plain, "entries": entries}

    def __str__(self) -> str:
        titles = ("verdict", "parameter", "entry", "step", "ULPs", "of", "bias", "of", "dtype", "fault")
        rows = [
            (
                *(e.verdict, e.parameter, e.entry, str(e.step), f"{e.ulps:.3g}", f"{e.explained:.3g}"),
                *(f"{e.bias:.1e}", f"{e.bias_explained:.1e}", e.dtype, e.fault),
            )
            for e in self.entries
        ]
        table = [titles, *rows] if rows else []
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
        return "\n".join([*lines, self.summary()])

    def summary(self) -> str:
        """One sentence: the verdict and the worst error; or what is wrong, where and since when."""
        if not self.ok:
            first, *others = self.culprits
            off = f"{first.ulps:.3g} ULPs of {first.dtype} off, where rounding explains {first.explained:.3g}"
            if first.ulps <= first.explained:
                off = f"off by {first.bias:.1e} of its change, where rounding explains {first.bias_explained:.1e}"
            where = f"{first.entry} of {first.parameter} at step {first.step}"
            return (
                f"The update of {self.optimizer} is wrong: {where} is {off}"
                + (f" ({first.fault})" if first.fault else "")
                + (f"; and {len(others)} more." if others else ".")
            )
        if not self.entries:
            return f"The update of {self.optimizer} is {self.verdict}: {self.note}."
        verified = sum(e.verdict == VERIFIED for e in self.entries)
        return (
            f"The update of {self.optimizer} is {self.verdict}: {verified} of {len(self.entries)} entries over "
            f"{self.steps} steps; parameters within {max(self.ulps.values()):.3g} ULPs of the hand-written update."
        )
