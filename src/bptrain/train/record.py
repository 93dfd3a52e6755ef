"""Records: what `fit` yields. Who wants to show, write or stop reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from bptrain.check.step_report import StepReport
    from bptrain.train.nonfinite import Origin
    from bptrain.train.state import Snapshot

Scores = dict[str, float]  # 'loss' and each metric by name


@dataclass(frozen=True)
class Checked:
    """The step after `step` others was compared with the reference, by `rows` of its `batch` rows.

    `loss` is that of the step, None where it was not made because a gradient is wrong or the loss not finite.
    """

    step: int
    seconds: float
    report: StepReport
    rows: int
    batch: int
    loss: Tensor | None = None


@dataclass(frozen=True)
class Stepped:
    """One step was made. `loss` stays on the device: reading it waits for the device."""

    epoch: int
    step: int
    rows: int
    loss: Tensor
    lr: float


@dataclass(frozen=True)
class Chosen:
    """The engine that makes the steps after `step` others, and why. `seconds` are what it was chosen by."""

    step: int
    engine: str
    why: str
    seconds: dict[str, float]


@dataclass(frozen=True)
class Finding:
    """What is likely to be wrong with a training, in an epoch measured: its kind, where, the figure, and in words."""

    epoch: int
    step: int
    kind: str  # unreached, vanishing, unchanged, too large or exploding
    parameter: str  # '' for all of them
    value: float
    text: str


@dataclass(frozen=True)
class Health:
    """Figures of one step: the 2-norm of the gradient after clipping, and that of the update over that of the weights.

    `shares` are the latter of each parameter that is not 0; findings are those that have not been told before.
    """

    gradient_norm: float
    update_ratio: float | None  # None where all weights are 0
    shares: dict[str, float]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Evaluated:
    """The end of an epoch with an evaluation: scores by part, 'train' holding the mean loss of the steps."""

    epoch: int
    step: int
    lr: float
    scores: dict[str, Scores]
    best: bool  # the monitored value is the best so far
    health: Health | None  # None where it was not measured


@dataclass(frozen=True)
class Finished:
    """The end: scores on the test part with the best weights, {} without such a part."""

    epoch: int  # of the best weights
    step: int
    scores: Scores
    early: str  # why it stopped before fit.epochs, if it did


@dataclass(frozen=True)
class NonFinite:
    """The step after `step` others is not finite, in the epoch after `epoch` others; `what` of it, and from where.

    `before` is the state before it, from which it can be made again, and `best` the best one then.
    """

    step: int
    epoch: int
    what: str
    origin: Origin
    before: Snapshot
    best: Snapshot | None = None

    @property
    def text(self) -> str:
        """In words."""
        rows, more = self.origin.rows[:8], len(self.origin.rows) - 8
        named = ", ".join(map(str, rows)) + (f" and {more} more" if more > 0 else "")
        call = f" It begins with {self.origin.call}." if self.origin.call else ""
        by = f" Rows of the training part: {named}." if rows else ""
        return f"step {self.step + 1} of epoch {self.epoch + 1}: {self.what}.{call}{by}"


Record = Checked | Chosen | Stepped | Evaluated | NonFinite | Finished
