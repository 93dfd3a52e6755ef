"""Everything a config can say, as dataclasses: the typed form of `configs/train.yaml`."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Literal, cast

from bptrain.config.component import setting
from bptrain.data.dataset import Data
from bptrain.errors import Problem, RequestError, did_you_mean
from bptrain.losses.loss import Loss
from bptrain.models.model import Model
from bptrain.optimizers.optimizer import Optimizer
from bptrain.schedulers import Scheduler

if TYPE_CHECKING:
    from bptrain.models.custom import Custom

TIME = re.compile(r"(\d+(?:\.\d+)?)(s|min)")
TOP = re.compile(r"top-([1-9]\d{0,3})")
UNTRUSTED = "is code of your own, and runs only when the command line trusts it."
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Checkpoint:
    """When the state of a run is written to disk."""

    every: int | str = setting("10s", "time between two writes, such as 10s or 5min, or a number of steps", minimum=1)
    keep: tuple[str, ...] = setting(
        ("last", "best"),
        "which states are written: the last one, the one with the best monitored value; top-3: those of the three "
        "epochs with the best values",
    )

    def __post_init__(self) -> None:
        if isinstance(self.every, str) and not TIME.fullmatch(self.every):
            what = f"'{self.every}' is neither a time nor a number of steps."
            raise RequestError(Problem("fit.checkpoint.every", what, "Write 10s, 5min or 1000."))

        for word in self.keep:
            if word not in ("last", "best") and not TOP.fullmatch(word):
                cure = did_you_mean(word, ["last", "best", "top-3"])
                raise RequestError(Problem("fit.checkpoint.keep", f"there is no state '{word}'.", cure))

    @property
    def top(self) -> int:
        """How many epochs with the best values are kept."""
        return max((int(found[1]) for word in self.keep if (found := TOP.fullmatch(word))), default=0)

    @property
    def seconds(self) -> float | None:
        """The time between two writes; None when `every` counts steps."""
        if isinstance(self.every, int):
            return None
        amount, unit = TIME.fullmatch(self.every).groups()  # type: ignore[union-attr]
        return float(amount) * {"s": 1, "min": 60}[unit]


@dataclass(frozen=True)
class Fit:
    """How long and in what portions to train."""

    epochs: int = setting(60, "passes over the training part", minimum=1)
    batch_size: int = setting(32, "rows in a batch; full-batch optimizers take all rows", minimum=1)
    drop_last: bool = setting(False, "leave out the last batch of an epoch when it is smaller than the others")
    accumulate: int = setting(1, "batches whose gradients are averaged into one step", minimum=1)
    clip: float | None = setting(None, "scale the gradient down to this 2-norm when it is longer", above=0)
    tbptt: int | None = setting(
        None,
        "recurrent networks: how far the gradient goes back at the most; null for the whole sequence",
        minimum=1,
        unit="steps",
    )
    evaluate: int = setting(1, "epochs between evaluations on the validation part", minimum=1, unit="epochs")
    patience: int | None = setting(
        None, "stop after so many evaluations without a better monitored value", minimum=1, unit="evaluations"
    )
    engine: Literal["eager", "compiled", "graph", "auto"] = setting(
        "eager",
        "what makes a step: torch call by call, one compiled program, that program replayed as a CUDA graph, or "
        "whichever of them proves faster in this run",
    )
    strategy: Literal["ddp", "fsdp"] = setting(
        "ddp",
        "under torchrun only: each process has the whole network (DistributedDataParallel), or a share of its "
        "parameters, gradients and optimizer state (fully_shard)",
    )
    deterministic: bool = setting(
        False, "nothing that is measured decides: auto is eager, and torch uses its deterministic algorithms alone"
    )
    health: bool = setting(
        True, "measure a step of each evaluated epoch: norms of gradients and updates, and what they warn of"
    )
    on_nonfinite: Literal["stop", "skip", "restore"] = setting(
        "stop",
        "a step whose loss, gradient or weights are NaN or infinite ends the run; is left out; or is left out and the "
        "best weights so far go on, with a fresh optimizer",
    )
    checkpoint: Checkpoint = setting(Checkpoint, "when the state is written to disk")


@dataclass(frozen=True)
class Check:
    """When autograd is compared with the reference backprop."""

    enabled: bool = setting(True, "check the first step")
    every: int | None = setting(None, "check again each so many steps while training", minimum=1, unit="steps")
    steps: int = setting(1, "steps that `bptrain check` trains in memory, each of them checked", minimum=1)
    rows: int | None = setting(
        None, "verify the gradients of so many rows of a batch alone; null for all of it", minimum=2, unit="rows"
    )
    strict: bool = setting(False, "a call that could not be verified counts as wrong")


@dataclass(frozen=True)
class Sweep:
    """How the trials of `-m` are run."""

    executor: Literal["serial", "process", "population"] = setting(
        "serial",
        "one trial after the other; several at a time, each in a process; or those that differ in numbers alone "
        "together, as one program",
    )
    processes: int | None = setting(
        None,
        "that run trials at the same time; null for as many as the cores have threads for, and one on a GPU",
        minimum=1,
    )
    max_members: int | None = setting(
        None, "trials that train together at the most; null for as many as fit into memory", minimum=2, unit="trials"
    )

    def __post_init__(self) -> None:
        if self.executor == "serial" and (self.processes or 1) > 1:
            what = "the serial executor has one process."
            raise RequestError(Problem("sweep.processes", what, "Write sweep.executor=process."))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A whole run: `Settings` and the versions in its lock are all that a result depends on."""

    name: str = setting(MISSING, "the folder under outputs/ that runs go to: letters, digits, '.', '_', '-'")
    seed: int = setting(0, "seeds split, initialisation, data order and dropout", minimum=0, maximum=2**63 - 1)
    device: str = setting("cpu", "cpu, cuda, cuda:1 or mps; auto takes the first accelerator there is")
    threads: int = setting(
        1, "CPU threads; part of the result. Small networks gain nothing from more", minimum=1, maximum=1024
    )
    precision: Literal["fp32", "tf32", "bf16", "fp64"] = setting(
        "fp32",
        "tf32: an NVIDIA GPU multiplies float32 with 10 bits of mantissa. "
        "bf16: forward pass and loss under torch.autocast; parameters, gradients and optimizer stay float32. "
        "fp64: all of the run in float64",
    )
    trust: tuple[str, ...] = setting((), "your own modules and packages whose code may run; from the command line only")
    monitor: str | None = setting(
        None, "metric that picks the best epoch; null for the task's own, and the loss without a validation part"
    )
    metrics: tuple[str, ...] | None = setting(
        None, "figures of merit that every part is judged by besides the loss; null for the usual ones of the task"
    )
    model: Model = setting(MISSING, "the network")
    data: Data = setting(MISSING, "where the examples come from")
    loss: Loss = setting(MISSING, "what is minimised")
    optimizer: Optimizer = setting(MISSING, "how a gradient becomes a step")
    scheduler: Scheduler = setting(MISSING, "how the learning rate changes")
    fit: Fit = setting(Fit, "how long and in what portions to train")
    check: Check = setting(Check, "when gradients are verified")
    sweep: Sweep = setting(Sweep, "how the trials of a sweep are run")

    def __post_init__(self) -> None:
        problems = []
        if not NAME.fullmatch(self.name):
            cure = "Use up to 100 letters, digits, '.', '_' or '-'."
            problems.append(Problem("name", f"'{self.name}' can't be a folder.", cure))
        if not re.fullmatch(r"(cpu|auto|mps|cuda(:\d{1,3})?)", self.device):
            problems.append(Problem("device", f"there is no device '{self.device}'.", "Use cpu, cuda, mps or auto."))
        # By name, so that its module is imported only when it is chosen.
        model = cast("Custom", self.model) if self.model.name == "custom" else None
        if model and not model.trusted(self.trust):
            cure = f"Add trust={model.module} to the command line if '{model.path}' may run here."
            problems.append(Problem("model.path", UNTRUSTED, cure))
        if problems:
            raise RequestError(problems)
